"""One run at a time under one root."""

import contextlib
import fcntl
from collections.abc import Iterator

from storage.store import Store


class RootInUseError(Exception):
    """Another run is writing under the same root."""


@contextlib.contextmanager
def root_lock(store: Store) -> Iterator[None]:
    """Hold the root for this run and remove what a killed one left half-written.

    The lock goes with the process, however it ends. Object stores offer none: there the scheduler has to see to it.

    Raises:
        RootInUseError: another run holds it.
    """
    if not store.is_local:
        yield
        return
    store.local().mkdir(parents=True, exist_ok=True)
    with store.local(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RootInUseError(
                f"another run is working under {store.root}: wait for it, or choose another root"
            ) from error
        store.sweep()
        yield
