"""PERSONA-Test from annotated photos: the stages of `curate` up to the scores, then a draw among the worst crops."""

from functools import partial
from pathlib import Path
from typing import Annotated

from rich.console import Console

from flows.config import CropsConfig
from flows.execution.progress import progress_bar
from flows.execution.root_lock import root_lock
from flows.execution.run_log import run_log
from flows.execution.runner import runner_of
from flows.pipeline import Stages
from storage.frozen import HOW
from storage.snapshot import published_at
from storage.store import Store
from tasks.benchmark.persona_test_set import SampleConfig, TrainPhotos, build_test, sample
from tasks.metrics.iqa import lower_is_better

console = Console(stderr=True)


class PersonaTestConfig(CropsConfig):
    """Annotated photos in, a benchmark of low-quality person crops out."""

    train: Annotated[str, HOW]
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

    with root_lock(store), run_log(store, f"benchmark-{config.name}"):
        stages = Stages(runner_of(config.run, partial(progress_bar, console)), config)
        scored = stages.score_all()
        sampled = sample(store, scored, train, directions, config.sample)
        stages.record.enter({shard.source: [shard] for shard in sampled})
        about = {
            "configuration": config.content(),
            "train": {"id": train.snapshot.id, "digest": train.snapshot.manifest().digest},
            "weights": stages.files_of_weights,
        }
        with progress_bar(console, "benchmark", sum(shard.num_rows("drawn") for shard in sampled)) as advance:
            benchmark = build_test(
                store, config.name, scored, sampled, about=about, reports=stages.record.reports, on_progress=advance
            )
    return store.local(benchmark.path)
