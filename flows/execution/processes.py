"""Shards in worker processes of this machine: each takes a shard, writes its own Parquet and returns its counts."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from storage.errors import ExitCode, PersonaError
from storage.shard import Shard
from tasks.sources.base import Source

log = logging.getLogger(__name__)

POLL_S = 0.5


class WorkerKilledError(PersonaError):
    """A worker process ended without a word; what was finished stays, and the same command goes on from there."""

    exit_code = ExitCode.WORKER_KILLED


@dataclass(frozen=True)
class Job:
    """A call that some worker process makes; everything in it can be pickled."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    num_items: int = 0  # what the progress bar counts
    reports_progress: bool = False  # the function takes `on_progress` and tells it of every few items by itself
    runs_network: bool = False  # on a cluster it may take its share of a GPU

    @property
    def name(self) -> str:
        """What the log calls it: the function and the shard, or the source, that it is about."""
        shards = [argument.name for argument in self.arguments if isinstance(argument, Shard)]
        sources = [argument.name for argument in self.arguments if isinstance(argument, Source)]
        return " ".join([self.function.__name__, *(shards or sources)[-1:]])

    def done_in(self, seconds: float) -> None:
        """Note in the log of the run how long a worker took."""
        log.info("%s: %d items in %.2f s", self.name, self.num_items, seconds)


def run_jobs(jobs: Sequence[Job], num_workers: int, on_progress: Callable[[int], None], gpus: int = 0) -> list[Any]:
    """The results of all jobs, in the order of `jobs`; no worker lives on when it returns or raises.

    Args:
        jobs: independent of each other.
        num_workers: processes; each keeps to one thread.
        on_progress: told how many items were finished since it was last called.
        gpus: of this machine; each worker sees one of them, in turn.

    Raises:
        WorkerKilledError: a process was killed from outside.
    """
    if not jobs:
        return []
    context = multiprocessing.get_context("spawn")  # forking after torch or Arrow started threads can deadlock
    ticks: Synchronized[int] = context.Value("q", 0)
    turn: Synchronized[int] = context.Value("q", 0)
    results: list[Any] = [None] * len(jobs)
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(num_workers, len(jobs)), context, _start_worker, (ticks, turn, gpus)) as pool:
        with _signals_held():
            running: dict[Future[Any], int] = {pool.submit(_call, job): i for i, job in enumerate(jobs)}
        workers = set(multiprocessing.active_children()) - others
        seen = 0
        try:
            while running:
                done, _ = wait(running, POLL_S, FIRST_COMPLETED)
                if not done and not all(worker.is_alive() for worker in workers):
                    # The pool overlooks the death of the worker that it started last until another one has finished.
                    raise BrokenProcessPool
                finished = 0
                for future in done:
                    i = running.pop(future)
                    results[i], seconds = future.result()
                    jobs[i].done_in(seconds)
                    finished += 0 if jobs[i].reports_progress else jobs[i].num_items
                told = ticks.get_obj().value  # without its lock, which a killed worker may have held
                if finished or told > seen:
                    on_progress(finished + told - seen)
                seen = told
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.kill()  # what it was making has no name yet
            for worker in workers:
                worker.join()
            if isinstance(error, BrokenProcessPool):
                raise WorkerKilledError(
                    "a worker process was killed, by hand or for want of memory; run the same command again to go on"
                ) from error
            raise
    return results


def num_gpus() -> int:
    """NVIDIA GPUs of this machine that this process may use, without the seconds that importing torch takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


@contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until all processes are started: in the middle of that they would end in tracebacks.

    The processes inherit the mask, so that they are not interrupted while they import either.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_ticks: "Synchronized[int] | None" = None


def _call(job: Job) -> tuple[Any, float]:
    """What the function returns, and how many seconds it took."""
    start = time.perf_counter()
    result = job.function(*job.arguments, **({"on_progress": _tick} if job.reports_progress else {}))
    return result, time.perf_counter() - start


def _tick(num_items: int) -> None:
    if _ticks is not None:
        with _ticks.get_lock():
            _ticks.value += num_items


def _start_worker(ticks: "Synchronized[int]", turn: "Synchronized[int]", gpus: int) -> None:
    global _ticks
    _ticks = ticks
    keep_to_one_thread()
    if gpus:
        with turn.get_lock():
            mine, turn.value = turn.value % gpus, turn.value + 1
        names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = names[mine]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def keep_to_one_thread() -> None:
    """As many processes as cores are running already: a second thread in each would only make them wait."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    import cv2
    import pyarrow as pa

    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def _end_with_parent() -> None:
    """A worker must not outlive a killed main process and write beside its successor."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
