"""PERSONA-Test from annotated photos: the stages of `curate` up to the scores, then a draw among the worst crops."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.config import CropsConfig
from flows.execution.processes import run_jobs
from flows.execution.progress import progress_bar
from flows.execution.root_lock import root_lock
from flows.execution.run_record import Books
from flows.pipeline import Step, configuration_of, score_all
from storage.snapshot import published_at
from storage.store import Store
from tasks.benchmark.persona_test_set import SampleConfig, TrainPhotos, build_test, sample
from tasks.metrics.iqa import lower_is_better

console = Console(stderr=True)


class PersonaTestConfig(CropsConfig):
    """Annotated photos in, a benchmark of low-quality person crops out."""

    train: str
    """Folder of the snapshot that models are trained on; photos like one of its train split are left out."""
    sample: SampleConfig
    """Which crops are drawn."""


def persona_test(config: PersonaTestConfig) -> Path:
    """Make what is missing of the benchmark; returns its folder, which lies below the configured root.

    Raises:
        ValueError: the root is no local folder, the snapshot is none, or no crop is left to draw.
        TooManyFailuresError: more than `max_failed_share` of a source's photos failed.
    """
    store = Store(config.root)
    train = TrainPhotos.of(published_at(config.train))
    directions = {metric: lower_is_better(metric) for metric in config.score.metrics}

    def run(stage: str, steps: Sequence[Step]) -> list[Any]:
        jobs = [step.job for step in steps if not step.done]
        if not jobs:
            return []
        runs_network = any(job.runs_network for job in jobs)
        num_workers = config.network_workers if runs_network and config.network_workers else config.workers
        with progress_bar(console, stage, sum(job.num_items for job in jobs) or None) as advance:
            return run_jobs(jobs, num_workers, advance)

    with root_lock(store):
        books = Books(store, config.name, configuration_of(config))
        scored, weights = score_all(run, store, config, books)
        sampled = sample(store, scored, train, directions, config.sample)
        books.enter({shard.source: [shard] for shard in sampled})
        about = {
            "configuration": configuration_of(config),
            "train": {"id": train.snapshot.id, "digest": train.snapshot.manifest()["digest"]},
            "weights": {file: sha256 for files in weights.values() for file, sha256 in files.items()},
        }
        with progress_bar(console, "benchmark", sum(shard.num_rows("drawn") for shard in sampled)) as advance:
            benchmark = build_test(
                store, config.name, scored, sampled, about=about, reports=books.reports, on_progress=advance
            )
    return store.local(benchmark.path)
