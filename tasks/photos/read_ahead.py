"""Photos that come over a network, asked for before they are needed."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from storage.rejection import Rejection

IN_FLIGHT = 24
"""Photos on their way or waiting, per process: at 50 ms each that is 480 a second, in a few megabytes."""

Read = Callable[[str], bytes | Rejection]


@contextmanager
def read_ahead(read: Read, paths: Sequence[str]) -> Iterator[Read]:
    """`read`, with the next IN_FLIGHT of `paths` on their way; they are asked for in this order, some perhaps never."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        waiting: deque[tuple[str, Future[bytes | Rejection]]] = deque()
        rest = iter(paths)

        def top_up() -> None:
            while len(waiting) < IN_FLIGHT and (path := next(rest, None)) is not None:
                waiting.append((path, pool.submit(read, path)))

        def get(path: str) -> bytes | Rejection:
            top_up()
            while waiting:
                announced, future = waiting.popleft()
                if announced == path:
                    top_up()
                    return future.result()
                future.cancel()
                top_up()
            return read(path)

        try:
            yield get
        finally:
            pool.shutdown(cancel_futures=True)
