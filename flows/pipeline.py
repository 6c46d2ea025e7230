"""The stages of HQ-ACF in their order: which shards each of them needs, and which of these are still to be made.

Every stage names its shards after what they depend on, so walking through the stages tells what is done; a runner gets
only what is left. The same walk serves two callers: the flow, whose runner makes what is missing, and the quick look
whose runner makes nothing and so finds out whether there is anything to do.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.config import CropsConfig, CurateConfig
from flows.execution.processes import Job
from flows.execution.run_record import RunRecorder
from flows.execution.runner import DryRunner, Runner, WorkLeftError
from model.network.weights import Compute
from storage.code_version import code_version
from storage.digest import sha256_of_file
from storage.known_weights import hashes_of, remember, remembered
from storage.report import StageReport
from storage.reviews import standing_verdicts
from storage.scored_crops import ScoredShard, score_stage
from storage.shard import DamagedShardError, Shard, remaking_damaged
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.crop.crop import crop_key, crop_shard
from tasks.crop.filters import CropConfig
from tasks.detect.detect import detect_key, detect_shard
from tasks.detect.person_detector import weights_files as detector_weights_files
from tasks.images.photo import PhotoConfig
from tasks.ingest.ingest import ingest_source, ingested_shards
from tasks.metrics.iqa import lower_is_better, weights_files
from tasks.photos.places import all_as_taken, any_changed, photos_of
from tasks.publish.publish import commit_snapshot, plan_snapshot, write_part
from tasks.score.score import score_key, score_shard
from tasks.select.select import select, selected_shards
from tasks.sources.base import Source

THREADS = 1
"""CPU threads of a network in a worker process: there are as many processes as cores."""

ShardsOf = dict[str, list[Shard]]
"""Source → its shards of one stage."""

Planned = tuple[Shard, Job | None]
"""A shard of a stage, and the job that makes it; None where it is done."""

Weights = dict[str, dict[str, str]]
"""What uses them ("detector" or a metric) → weights file → SHA-256."""


@dataclass(frozen=True)
class Curated:
    """What a run ended with."""

    snapshot: Snapshot
    reports: list[StageReport]
    stages: dict[str, list[Shard]]  # every shard that the run stands on, by stage


def curate_with(runner: Runner, config: CurateConfig) -> Curated:
    """Walk through all stages, letting `runner` make what is missing.

    Raises:
        TooManyFailuresError: more than `max_failed_share` of a source's photos failed.
    """
    return remaking_damaged(lambda: _walk(runner, config))


def _walk(runner: Runner, config: CurateConfig) -> Curated:
    stages = Stages(runner, config)
    scored = stages.score_all()
    selection = _select(stages, config, scored)
    snapshot = _publish(stages, config, scored, selection)
    stages.record.close(snapshot)
    return Curated(snapshot, stages.record.reports, stages.record.stages)


def already_curated(config: CurateConfig) -> Curated | None:
    """What `curate` would end with, if there is nothing left to do; found from file names, without Prefect's server."""
    try:
        return _walk(DryRunner(), config)
    except (WorkLeftError, DamagedShardError):
        return None


def already_scored(config: CropsConfig) -> list[ScoredShard]:
    """Every scored shard of a dataset, without making any.

    Raises:
        WorkLeftError: some are missing.
    """
    return Stages(DryRunner(), config).score_all()


@dataclass
class Stages:
    """The stages that look at single photos and crops, for one configuration, and the run record that they fill."""

    runner: Runner
    config: CropsConfig
    store: Store = field(init=False)
    record: RunRecorder = field(init=False)
    weights: Weights = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Store(self.config.root)
        self.record = RunRecorder(
            self.store,
            self.config.name,
            self.config.content(),
            settings=self.config.model_dump(mode="json", exclude={"root"}),  # the record lies below it
            dry_run=isinstance(self.runner, DryRunner),
        )

    def make(self, stage: str, jobs: Iterable[Job | None]) -> list[Any]:
        """Let the runner make what is left of a stage; a job that is done already is given as None."""
        left = [job for job in jobs if job is not None]
        return self.runner.run(stage, left) if left else []

    def score_all(self) -> list[ScoredShard]:
        """Ingest, detect, crop, score: every shard of scored crops."""
        self.weights = self._weights()
        ingested = self._ingest()
        self.record.stop_at_faulty_annotations(self.config.run.max_faulty_share)
        boxed = ingested | self._detect(ingested)
        cropped = self._crop(boxed)
        may_be_missing = [source.name for source in self.config.sources if source.photos_missing == "skip"]
        self.record.stop_at_too_many_failures(self.config.run.max_failed_share, may_be_missing)
        return self._score(cropped)

    @property
    def files_of_weights(self) -> dict[str, str]:
        """Weights file → SHA-256, of every network that has a say."""
        return {file: sha256 for files in self.weights.values() for file, sha256 in files.items()}

    def _compute(self, num_threads: int | None = THREADS) -> Compute:
        return Compute(self.config.run.device, self.config.run.batch_size, num_threads)

    def _detector(self) -> str:
        """Names the detector's weights; a local file by its content, so that an exchanged one is another."""
        path = Path(self.config.detect.weights)
        return f"detector {sha256_of_file(path) if path.is_file() else self.config.detect.weights}"

    def _weights(self) -> Weights:
        """Hashes of all weights, after each network was loaded once: a missing one is told before any photo is read."""
        checks = {metric: Job(weights_files, (metric,), 1) for metric in self.config.score.metrics}
        if any(source.boxes_from == "detector" for source in self.config.sources):
            checks[self._detector()] = Job(detector_weights_files, (self.config.detect, self._compute()), 1)
        known = remembered(self.store)
        missing = {user: job for user, job in checks.items() if user not in known}
        if missing:
            known |= dict(zip(missing, self.make("weights", missing.values()), strict=True))
            remember(self.store, known)
        return {user: hashes_of(known[user]) for user in checks}

    def _ingest(self) -> ShardsOf:
        num_photos = self.config.run.photos_per_shard
        photos_of.cache_clear()  # what lies there now

        def ready() -> dict[str, list[Shard] | None]:
            return {s.name: ingested_shards(self.store, s, num_photos) for s in self.config.sources}

        done = ready()
        self.make(
            "ingest",
            (
                Job(ingest_source, (self.store, source, num_photos), reports_progress=True)
                for source in self.config.sources
                if done[source.name] is None
            ),
        )
        ingested = {name: shards or [] for name, shards in ready().items()}
        self.record.enter(ingested)
        return ingested

    def _detect(self, ingested: ShardsOf) -> ShardsOf:
        """Shards of photos with boxes, for the sources that come without."""
        planned: list[Planned] = []
        for source in self.config.sources:
            if source.boxes_from == "detector":
                weights = self.weights[self._detector()]
                for photos in ingested[source.name]:
                    key = detect_key(photos, source, self.config.detect, self.config.photo, weights)
                    out = Shard(self.store, "detect", source.name, photos.number, key)
                    arguments = (photos, out, source, self.config.detect, self.config.photo, self._compute())
                    job = Job(detect_shard, arguments, photos.num_rows("photos"), runs_network=True)
                    planned.append((out, None if _is_current(out, source, self.config.run.verify_inputs) else job))
        return self._made("detect", planned)

    def _crop(self, boxed: ShardsOf) -> ShardsOf:
        planned: list[Planned] = []
        for source in self.config.sources:
            how = self.config.crop, self.config.photo, self.config.run.verify_inputs
            planned += plan_crop(self.store, source, boxed[source.name], *how)
        return self._made("crop", planned)

    def _score(self, cropped: ShardsOf) -> list[ScoredShard]:
        jobs: list[Job | None] = []
        scored: list[ScoredShard] = []
        for crops in (shard for shards in cropped.values() for shard in shards):
            outs = {
                metric: Shard(self.store, score_stage(metric), crops.source, crops.number, key)
                for metric in self.config.score.metrics
                for key in [score_key(crops, metric, self.weights[metric])]
            }
            missing = {metric: out for metric, out in outs.items() if not out.is_done()}
            job = Job(score_shard, (crops, missing, self._compute()), crops.num_rows("crops"), runs_network=True)
            jobs.append(job if missing else None)
            scored.append(ScoredShard(crops, outs))
        self.make("score", jobs)
        for metric in self.config.score.metrics:
            self.record.enter({name: [s.scores[metric] for s in scored if s.crops.source == name] for name in cropped})
        return scored

    def _made(self, stage: str, planned: Sequence[Planned]) -> ShardsOf:
        """Make a stage of all sources at once, so that no worker waits for another source."""
        self.make(stage, (job for _, job in planned))
        shards_of: ShardsOf = {}
        for shard, _ in planned:
            shards_of.setdefault(shard.source, []).append(shard)
        self.record.enter(shards_of)
        return shards_of


def plan_crop(
    store: Store,
    source: Source,
    boxed: Sequence[Shard],
    config: CropConfig,
    photo_config: PhotoConfig,
    verify_inputs: bool = False,
) -> Iterator[Planned]:
    """The crop shards that belong to a source's shards of photos and boxes."""
    for boxes in boxed:
        out = Shard(store, "crop", source.name, boxes.number, crop_key(boxes, source, config, photo_config))
        job = Job(crop_shard, (boxes, out, source, config, photo_config), boxes.num_rows("photos"))
        yield out, None if _is_current(out, source, verify_inputs) else job


def _is_current(shard: Shard, source: Source, verify_inputs: bool) -> bool:
    """The shard is done, no photo that failed in it has been mended since, and none that was read was replaced."""
    if not shard.is_done():
        return False
    photos, marker = photos_of(source.photos, shard.store), shard.manifest()
    return not any_changed(photos, marker.unread_files) and all_as_taken(photos, marker.read_files, verify_inputs)


def _select(stages: Stages, config: CurateConfig, scored: list[ScoredShard]) -> list[Shard]:
    directions = {metric: lower_is_better(metric) for metric in config.score.metrics}
    reviews = standing_verdicts(stages.store)
    selection = selected_shards(stages.store, scored, directions, config.select, reviews)
    num_crops = sum(shard.crops.num_rows("crops") for shard in scored)
    job = Job(select, (stages.store, scored, directions, config.select, reviews), num_crops)
    stages.make("select", [None if all(shard.is_done() for shard in selection) else job])
    stages.record.enter({shard.source: [shard] for shard in selection})
    return selection


def _publish(stages: Stages, config: CurateConfig, scored: list[ScoredShard], selection: list[Shard]) -> Snapshot:
    plan = plan_snapshot(
        stages.store,
        config.name,
        scored,
        selection,
        config=config.publish,
        config_dump=config.content(),
        reports=stages.record.reports,
        weights=stages.files_of_weights,
    )
    if not plan.snapshot.is_committed():
        write = (Job(write_part, (part,), part.num_rows, reports_progress=True) for part in plan.parts)
        facts = stages.make("publish", write)
        stages.make("manifest", [Job(commit_snapshot, (plan, facts, code_version()), 1)])
    return plan.snapshot
