"""The stages of HQ-ACF in their order: which shards each of them needs, and which of these are still to be made.

Every stage names its shards after what they depend on, so walking through the stages tells what is done. The same
walk serves two callers: the flow, which makes what is missing, and the quick look that finds nothing to do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.config import CropsConfig, CurateConfig
from flows.execution.processes import Job
from flows.execution.run_record import Books
from storage.code_version import code_version
from storage.digest import sha256_of_file
from storage.known_weights import hashes_of, remember, remembered
from storage.report import StageReport
from storage.reviews import standing_verdicts
from storage.shard import Shard
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.crop.crop import crop_key, crop_shard
from tasks.crop.filters import CropConfig
from tasks.detect.detect import detect_key, detect_shard
from tasks.detect.person_detector import weights_files as detector_weights_files
from tasks.images.photo import PhotoConfig
from tasks.ingest.ingest import ingest_source, ingested_shards
from tasks.metrics.iqa import lower_is_better, weights_files
from tasks.photos.places import any_changed, photos_of
from tasks.publish.publish import commit_snapshot, plan_snapshot, write_part
from tasks.score.score import score_key, score_shard
from tasks.select.scored_crops import ScoredShard
from tasks.select.select import select, selected_shards
from tasks.sources.base import Source

THREADS = 1
"""CPU threads of a network in a worker process: there are as many processes as cores."""


NOT_THE_RESULT = {"root", "workers", "network_workers", "cluster", "max_failed_share", "files_url"}
"""Keys of the configuration that say how a run is done and not what it gives."""


def configuration_of(config: CropsConfig) -> dict[str, Any]:
    """The configuration without what says only how a run is done."""
    return config.model_dump(mode="json", exclude=NOT_THE_RESULT)


@dataclass(frozen=True)
class Step:
    """One job of a stage, and whether its output is there already."""

    job: Job
    done: bool


RunStage = Callable[[str, Sequence[Step]], list[Any]]
"""Makes what is not done of a stage; returns the results of the jobs that it ran."""


@dataclass(frozen=True)
class Curated:
    """What a run ended with."""

    snapshot: Snapshot
    reports: list[StageReport]
    stages: dict[str, list[Shard]]  # every shard that the run stands on, by stage


def curate_with(run: RunStage, config: CurateConfig) -> Curated:
    """Walk through all stages, letting `run` make what is missing.

    Raises:
        TooManyFailuresError: more than `max_failed_share` of a source's photos failed.
    """
    store = Store(config.root)
    books = Books(store, config.name, configuration_of(config), mere_look=run is _refuse)
    scored, weights = score_all(run, store, config, books)
    selection = _select(run, store, config, scored)
    books.enter({shard.source: [shard] for shard in selection})
    snapshot = _publish(run, store, config, scored, selection, books.reports, weights)
    books.close(snapshot)
    return Curated(snapshot, books.reports, books.stages)


class WorkLeftError(Exception):
    """Something is still to be made, and nobody was asked to make it."""


def _refuse(stage: str, steps: Sequence[Step]) -> list[Any]:
    if not all(step.done for step in steps):
        raise WorkLeftError(stage)
    return []


def already_curated(config: CurateConfig) -> Curated | None:
    """What `curate` would end with, if there is nothing left to do; found from file names, without Prefect's server."""
    try:
        return curate_with(_refuse, config)
    except WorkLeftError:
        return None


def already_scored(config: CropsConfig) -> list[ScoredShard]:
    """Every scored shard of a dataset, without making any.

    Raises:
        WorkLeftError: some are missing.
    """
    store = Store(config.root)
    return score_all(_refuse, store, config, Books(store, config.name, configuration_of(config), mere_look=True))[0]


def score_all(run: RunStage, store: Store, config: CropsConfig, books: Books) -> tuple[list[ScoredShard], "Weights"]:
    """Everything that looks at single photos and crops; what follows looks at all of them together."""
    weights = _weights(run, store, config)
    ingested = _ingest(run, store, config)
    books.enter(ingested)
    boxed = _detect(run, store, config, ingested, weights)
    books.enter({name: shards for name, shards in boxed.items() if shards is not ingested[name]})
    cropped = _crop(run, store, config, boxed)
    books.enter(cropped)
    books.stop_at_too_many_failures(config.max_failed_share)
    scored = _score(run, store, config, cropped, weights)
    for metric in config.score.metrics:
        books.enter({name: [s.scores[metric] for s in scored if s.crops.source == name] for name in cropped})
    return scored, weights


Weights = dict[str, dict[str, str]]
"""What uses them ("detector" or a metric) → weights file → SHA-256."""


def _weights(run: RunStage, store: Store, config: CropsConfig) -> Weights:
    """Hashes of every network's weights, after each was loaded once: a missing one is told before any photo is read."""
    jobs = {metric: Job(weights_files, (metric,), 1) for metric in config.score.metrics}
    if any(source.boxes_from == "detector" for source in config.sources):
        jobs[_detector(config)] = Job(detector_weights_files, (config.detect,), 1)
    known = remembered(store)
    missing = [user for user in jobs if user not in known]
    found = run("weights", [Step(job, user in known) for user, job in jobs.items()])
    if missing:
        known |= dict(zip(missing, found, strict=True))
        remember(store, known)
    return {user: hashes_of(known[user]) for user in jobs}


def _detector(config: CropsConfig) -> str:
    """Names the detector's weights; a local file by its content, so that an exchanged one is another."""
    path = Path(config.detect.weights)
    return f"detector {sha256_of_file(path) if path.is_file() else config.detect.weights}"


def _ingest(run: RunStage, store: Store, config: CropsConfig) -> dict[str, list[Shard]]:
    def ready() -> dict[str, list[Shard] | None]:
        return {s.name: ingested_shards(store, s, config.photos_per_shard) for s in config.sources}

    done = ready()
    run(
        "ingest",
        [
            Step(
                Job(ingest_source, (store, source, config.photos_per_shard), reports_progress=True),
                done[source.name] is not None,
            )
            for source in config.sources
        ],
    )
    return {name: shards or [] for name, shards in ready().items()}


Planned = list[tuple[Shard, Step]]
"""The shards of a stage for one source, each with the step that makes it."""


def _detect(
    run: RunStage, store: Store, config: CropsConfig, ingested: dict[str, list[Shard]], weights: Weights
) -> dict[str, list[Shard]]:
    """Shards of photos with boxes: ingest's own where people drew the boxes, detect's where there were none."""
    planned: dict[str, Planned] = {}
    for source in config.sources:
        if source.boxes_from == "detector":
            planned[source.name] = []
            for photos in ingested[source.name]:
                key = detect_key(photos, source, config.detect, config.photo, weights[_detector(config)])
                out = Shard(store, "detect", source.name, photos.number, key)
                arguments = (photos, out, source, config.detect, config.photo, THREADS)
                job = Job(detect_shard, arguments, photos.num_rows("photos"), runs_network=True)
                planned[source.name].append((out, Step(job, _is_current(out, source))))
    return ingested | _run_planned(run, "detect", planned)


def _crop(run: RunStage, store: Store, config: CropsConfig, boxed: dict[str, list[Shard]]) -> dict[str, list[Shard]]:
    planned = {s.name: plan_crop(store, s, boxed[s.name], config.crop, config.photo) for s in config.sources}
    return _run_planned(run, "crop", planned)


def plan_crop(
    store: Store, source: Source, boxed: list[Shard], config: CropConfig, photo_config: PhotoConfig
) -> Planned:
    """The crop shards that belong to a source's shards of photos and boxes."""
    planned: Planned = []
    for boxes in boxed:
        out = Shard(store, "crop", source.name, boxes.number, crop_key(boxes, source, config, photo_config))
        job = Job(crop_shard, (boxes, out, source, config, photo_config), boxes.num_rows("photos"))
        planned.append((out, Step(job, _is_current(out, source))))
    return planned


def _run_planned(run: RunStage, stage: str, planned: dict[str, Planned]) -> dict[str, list[Shard]]:
    """All sources of a stage at once, so that no worker waits for another source."""
    steps = [step for source in planned.values() for _, step in source]
    if steps:
        run(stage, steps)
    return {name: [shard for shard, _ in source] for name, source in planned.items()}


def _is_current(shard: Shard, source: Source) -> bool:
    """The shard is done, and no photo that failed in it has been mended since."""
    return shard.is_done() and not any_changed(photos_of(source.photos, shard.store), shard.manifest()["unread_files"])


def _score(
    run: RunStage, store: Store, config: CropsConfig, cropped: dict[str, list[Shard]], weights: Weights
) -> list[ScoredShard]:
    steps: list[Step] = []
    scored: list[ScoredShard] = []
    for name, shards in cropped.items():
        for crops in shards:
            outs = {
                metric: Shard(store, f"score/{metric}", name, crops.number, score_key(crops, metric, weights[metric]))
                for metric in config.score.metrics
            }
            missing = {metric: out for metric, out in outs.items() if not out.is_done()}
            job = Job(score_shard, (crops, missing, config.score, THREADS), crops.num_rows("crops"), runs_network=True)
            scored.append(ScoredShard(crops, outs))
            steps.append(Step(job, not missing))
    run("score", steps)
    return scored


def _select(run: RunStage, store: Store, config: CurateConfig, scored: list[ScoredShard]) -> list[Shard]:
    directions = {metric: lower_is_better(metric) for metric in config.score.metrics}
    reviews = standing_verdicts(store)
    selection = selected_shards(store, scored, directions, config.select, reviews)
    job = Job(
        select,
        (store, scored, directions, config.select, reviews),
        sum(shard.crops.num_rows("crops") for shard in scored),
    )
    run("select", [Step(job, all(shard.is_done() for shard in selection))])
    return selection


def _publish(
    run: RunStage,
    store: Store,
    config: CurateConfig,
    scored: list[ScoredShard],
    selection: list[Shard],
    reports: list[StageReport],
    weights: Weights,
) -> Snapshot:
    plan = plan_snapshot(
        store,
        config.name,
        scored,
        selection,
        config=config.publish,
        config_dump=configuration_of(config),
        reports=reports,
        weights={file: sha256 for files in weights.values() for file, sha256 in files.items()},
    )
    done = plan.snapshot.is_committed()
    facts = run(
        "publish", [Step(Job(write_part, (part,), part.num_rows, reports_progress=True), done) for part in plan.parts]
    )
    run("manifest", [Step(Job(commit_snapshot, (plan, facts, code_version()), 1), done)])
    return plan.snapshot
