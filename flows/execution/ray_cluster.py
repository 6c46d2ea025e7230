"""Shards on a Ray cluster instead of on this machine's processes: the same jobs, the same results.

Every machine of the cluster needs this package, the photos under the same path, and a root that all of them reach.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import NonNegativeFloat

from flows.execution.processes import Job, keep_to_one_thread
from storage.extras import extra
from storage.frozen import Frozen

POLL_S = 1.0


class ClusterConfig(Frozen):
    """Which Ray cluster works on the shards."""

    address: str
    """Address of a running cluster: host:port, ray://host:port, or auto for the one of this machine."""
    gpus_per_network_job: NonNegativeFloat = 0.0
    """GPUs that a shard of detect or score takes; 0.25 lets four share one, 0 keeps to the CPU."""


def run_jobs_on_ray(jobs: Sequence[Job], cluster: ClusterConfig, on_progress: Callable[[int], None]) -> list[Any]:
    """The results of all jobs, in the order of `jobs`; a job whose machine dies is run again by Ray.

    Args:
        jobs: independent of each other.
        cluster: where they run.
        on_progress: told how many items were finished since it was last called.
    """
    with extra("cluster"):
        import ray

    if not jobs:
        return []
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address=cluster.address, log_to_driver=False)
    gpus = cluster.gpus_per_network_job
    running = {
        ray.remote(num_cpus=1, num_gpus=gpus if job.runs_network else 0)(_call).remote(job): i
        for i, job in enumerate(jobs)
    }
    results: list[Any] = [None] * len(jobs)
    while running:
        done, _ = ray.wait(list(running), timeout=POLL_S)
        for reference in done:
            i = running.pop(reference)
            results[i], seconds = ray.get(reference)
            jobs[i].done_in(seconds)
            on_progress(jobs[i].num_items)
    return results


def _call(job: Job) -> tuple[Any, float]:
    """What the function returns, and how many seconds it took."""
    keep_to_one_thread()
    start = time.perf_counter()
    return job.function(*job.arguments), time.perf_counter() - start
