"""How the jobs of a stage are carried out: worker processes, a Ray cluster, or not at all."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from flows.execution.processes import Job, num_gpus, run_jobs
from flows.execution.ray_cluster import ClusterConfig, run_jobs_on_ray
from flows.execution.run_config import RunConfig

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""A bar for a stage of so many items, if that is known; what it gives is told how many more are done."""


class WorkLeftError(Exception):
    """Something is still to be made, and nobody was asked to make it."""


class Runner(Protocol):
    """Carries out what is left to do of a stage."""

    def run(self, stage: str, jobs: Sequence[Job]) -> list[Any]:
        """The results of all jobs, in the order of `jobs`; there is at least one."""
        ...


@dataclass(frozen=True)
class ProcessRunner:
    """Jobs in worker processes of this machine."""

    config: RunConfig
    progress: Progress

    def run(self, stage: str, jobs: Sequence[Job]) -> list[Any]:
        """As in Runner."""
        with self.progress(stage, _num_items(jobs)) as on_progress:
            if any(job.runs_network for job in jobs):
                gpus = num_gpus() if self.config.device in ("auto", "cuda") else 0
                return run_jobs(jobs, self.config.network_workers or gpus or self.config.workers, on_progress, gpus)
            return run_jobs(jobs, self.config.workers, on_progress)


@dataclass(frozen=True)
class RayRunner:
    """Jobs on a Ray cluster."""

    cluster: ClusterConfig
    progress: Progress

    def run(self, stage: str, jobs: Sequence[Job]) -> list[Any]:
        """As in Runner."""
        with self.progress(stage, _num_items(jobs)) as on_progress:
            return run_jobs_on_ray(jobs, self.cluster, on_progress)


class DryRunner:
    """Makes nothing: tells by WorkLeftError that something would have to be made."""

    def run(self, stage: str, jobs: Sequence[Job]) -> list[Any]:
        """As in Runner.

        Raises:
            WorkLeftError: always; the message is the stage.
        """
        raise WorkLeftError(stage)


def runner_of(config: RunConfig, progress: Progress) -> Runner:
    """The runner that a configuration asks for."""
    return RayRunner(config.cluster, progress) if config.cluster else ProcessRunner(config, progress)


def _num_items(jobs: Sequence[Job]) -> int | None:
    return sum(job.num_items for job in jobs) or None
