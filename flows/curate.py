"""The flow `curate`: ingest, detect, crop, score, select, publish, each stage as one Prefect task over its shards.

A Prefect task is a whole stage and not a shard: its cost would be paid per shard otherwise, and worker processes would
have to import Prefect. The shards run in worker processes that know nothing of it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from flows.artifacts import stage_progress
from flows.config import CurateConfig
from flows.curate_artifacts import leave_funnel, leave_pictures
from flows.execution.processes import Job
from flows.execution.progress import progress_bar
from flows.execution.root_lock import root_lock
from flows.execution.run_log import run_log
from flows.execution.runner import Runner, runner_of
from flows.pipeline import Curated, curate_with
from flows.run_outputs import is_complete
from flows.server import NO_CACHE, emit_event, flow, task
from storage.code_version import code_version
from storage.digest import canonical_json
from storage.run_record import Aftermath, read_aftermath, write_aftermath
from storage.shard import remaking_damaged
from storage.snapshot import Snapshot
from storage.store import Store

console = Console(stderr=True)
log = logging.getLogger(__name__)

PUBLISHED = "persona.snapshot.published"
MANIFEST_STAGE = "manifest"


# The shards on disk say what is done; a second memory of it in Prefect's cache could only be wrong.
@task(task_run_name="{stage}", cache_policy=NO_CACHE)
def run_stage(stage: str, call: Callable[[], list[Any]]) -> list[Any]:
    """One stage of the pipeline over all its shards."""
    return call()


@dataclass(frozen=True)
class TaskRunner:
    """Runs every stage as one Prefect task around another runner."""

    runner: Runner
    made: set[str] = field(default_factory=set)  # stages that had something left to do

    def run(self, stage: str, jobs: Sequence[Job]) -> list[Any]:
        """As in Runner."""
        self.made.add(stage)
        log.info("stage %s: %d jobs", stage, len(jobs))
        start = time.perf_counter()
        results = run_stage(stage, lambda: self.runner.run(stage, jobs))
        log.info("stage %s: done in %.2f s", stage, time.perf_counter() - start)
        return results


@contextmanager
def _progress(stage: str, num_items: int | None) -> Iterator[Callable[[int], None]]:
    """A bar in the terminal and one on Prefect's page."""
    with progress_bar(console, stage, num_items) as draw, stage_progress(stage, num_items) as tell:

        def advance(num: int) -> None:
            draw(num)
            tell(num)

        yield advance


def _run_name() -> str:
    from prefect.runtime import flow_run

    config = CurateConfig.model_validate(flow_run.parameters["config"])  # a dictionary where a deployment started it
    return f"curate {config.name} {'+'.join(source.name for source in config.sources)}"


@flow(name="curate", flow_run_name=_run_name)
def curate(config: CurateConfig) -> Curated:
    """Annotated photos in, an explained snapshot of person crops out; what is done already is not done again."""
    runner = TaskRunner(runner_of(config.run, _progress))
    store = Store(config.root)
    with root_lock(store), run_log(store, f"curate-{config.name}"):
        log.info("%s: %s", code_version(), canonical_json(config.content()))
        try:
            return remaking_damaged(lambda: _curate(runner, config))
        finally:
            leave_funnel(config)


def _curate(runner: TaskRunner, config: CurateConfig) -> Curated:
    """All stages, then what follows a snapshot; a run that was killed in between is made up for by the next one."""
    curated = curate_with(runner, config)
    store, snapshot = Store(config.root), curated.snapshot
    aftermath = read_aftermath(store, config.name)
    told = aftermath.told if aftermath else ()
    is_new = MANIFEST_STAGE in runner.made or aftermath or not is_complete(store, config.name, snapshot)
    if is_new and snapshot.id not in told:
        tell_of_snapshot(snapshot)
    leave_pictures(config, curated)
    told = tuple(dict.fromkeys((*told, snapshot.id)))
    write_aftermath(store, config.name, Aftermath(snapshot=snapshot.id, told=told))
    return curated


def tell_of_snapshot(snapshot: Snapshot) -> None:
    """Emit the event that starts `retrain`; were it lost, the nightly `retrain` finds the snapshot all the same."""
    manifest = snapshot.manifest()
    emit_event(
        PUBLISHED,
        {"prefect.resource.id": f"persona.snapshot.{snapshot.id}", "persona.dataset": manifest.name},
        payload={
            "root": snapshot.store.root,
            "dataset": manifest.name,
            "snapshot": snapshot.id,
            "digest": manifest.digest,
            "rows": manifest.num_rows,
        },
    )
