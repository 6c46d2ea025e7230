"""PERSONA-Test: real crops of low quality, with no reference: cut and scored like the others, but drawn from below.

Whatever a model may have seen in training is left out: crops whose photo is a near-duplicate of one in train.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field, PositiveInt

from storage.benchmark import FOLDER, LQ, OnProgress, batches_of, commit_benchmark, splits_of, write_part
from storage.digest import digest
from storage.errors import InputError
from storage.frozen import Frozen
from storage.reasons import Reason
from storage.rejection import Rejection
from storage.report import StageReport, Tally
from storage.schema import REJECTS, with_image_feature
from storage.scored_crops import ScoredShard
from storage.sealed import Content
from storage.shard import Row, Shard, ShardWriter
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.publish.publish import Piece, pieces_of, published_schema, regrouped, rows_of
from tasks.select.crop_table import Metadata, read_metadata
from tasks.select.near_duplicates import is_informative, nearest
from tasks.select.verdicts import Bits, scores, within_limit

VERSION = 1
SPLIT = "test"
ROWS_PER_FILE, ROW_GROUP_ROWS = 1000, 32

DRAWN = pa.schema(
    [
        pa.field("crop_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),  # eq. 1 of the paper, among the crops of these sources
    ]
)


class SampleConfig(Frozen):
    """Which crops are of low quality, and how many of them are drawn."""

    size: PositiveInt = 3000
    """How many crops at most, drawn by a seeded hash of their ids; the paper's are 3,000."""
    limits: Annotated[dict[str, float], Field(min_length=1)]
    """Per metric the best value that is still low quality: the highest, or the lowest where lower is better."""
    near_duplicate_photo_bits: Bits = 6
    """Photos whose hashes differ from one in train in at most so many bits are left out."""
    seed: int = 0
    """Another number draws other crops."""


@dataclass(frozen=True)
class TrainPhotos:
    """The photos that a model may have seen: one crop of each."""

    snapshot: Snapshot
    crop_id: np.ndarray  # (M,) str
    photo_phash: np.ndarray  # (M,) uint64

    @classmethod
    def of(cls, snapshot: Snapshot) -> "TrainPhotos":
        """Read the hashes of a snapshot's train split; no picture is read.

        Raises:
            ValueError: it has no train split.
        """
        columns = ["crop_id", "photo_phash"]
        batches = [b for path in splits_of(snapshot).get("train", []) for b in batches_of(snapshot, path, columns)]
        if not batches:
            raise InputError(f"{snapshot.id} has no train split: name a snapshot that models are trained on")
        table = pa.Table.from_batches(batches)
        photo_phash, first = np.unique(table["photo_phash"].to_numpy(), return_index=True)
        return cls(snapshot, table["crop_id"].to_numpy()[first], photo_phash)


def sampled_shards(
    store: Store,
    scored: Sequence[ScoredShard],
    train: TrainPhotos,
    lower_is_better: Mapping[str, bool],
    config: SampleConfig,
) -> list[Shard]:
    """Where `sample` writes: one shard per source, done or not."""
    inputs = sorted((s.crops.name, s.crops.digest_of("crops"), _digests(s)) for s in scored)
    against = train.snapshot.manifest().digest
    key = digest("sample", VERSION, inputs, against, config, list(config.limits), dict(lower_is_better))
    return [Shard(store, "sample", source, 0, key) for source in sorted({s.crops.source for s in scored})]


def _digests(scored: ScoredShard) -> list[tuple[str, str]]:
    return sorted((metric, shard.digest_of("scores")) for metric, shard in scored.scores.items())


def sample(
    store: Store,
    scored: Sequence[ScoredShard],
    train: TrainPhotos,
    lower_is_better: Mapping[str, bool],
    config: SampleConfig,
) -> list[Shard]:
    """Write which crops are drawn (table `drawn`), and why each of the others is not (table `rejects`)."""
    shards = sampled_shards(store, scored, train, lower_is_better, config)
    if all(shard.is_done() for shard in shards):
        return shards
    metadata = read_metadata(scored, reviews={})
    score = scores(metadata.crops, lower_is_better)
    verdicts = draw(metadata, train, lower_is_better, config)
    rows = metadata.table.select(["crop_id", "source", "photo_id", "shard"]).to_pylist()
    for shard in shards:
        tally = Tally(shard.stage, shard.source, ("crop",))
        with ShardWriter(shard, drawn=DRAWN, rejects=REJECTS) as out:
            for i in (i for i, row in enumerate(rows) if row["source"] == shard.source):
                tally.enter("crop")
                lost = verdicts.get(i)
                if lost is None:
                    tally.keep("crop")
                    out["drawn"].append({**{n: rows[i][n] for n in DRAWN.names if n != "score"}, "score": score[i]})
                else:
                    tally.lose("crop", lost.reason)
                    out["rejects"].append(_reject_row(lost, shard, rows[i]))
            out.commit(tally.report())
    return shards


def _reject_row(lost: Rejection, shard: Shard, crop: Row) -> Row:
    """A row of REJECTS about a crop."""
    named = replace(lost, detail=f"crop {crop['crop_id']}{': ' + lost.detail if lost.detail else ''}")
    return named.row(shard.stage, shard.source, "crop", {"photo_id": crop["photo_id"], "path": None})


def draw(
    metadata: Metadata, train: TrainPhotos, lower_is_better: Mapping[str, bool], config: SampleConfig
) -> dict[int, Rejection]:
    """Index of each crop that is not drawn → the first of these reasons that applies.

    1. NOT_SCORED: a metric has no value.
    2. GOOD_QUALITY: a metric is better than its limit.
    3. PHOTO_IN_TRAIN: the nearest photo hash in train is within the limit; a photo whose hash says nothing, a flat
       one, must have exactly that hash.
    4. NOT_DRAWN: `size` others have smaller seeded hashes of their ids.

    Raises:
        ValueError: a limit names a metric that was not computed.
    """
    crops, num = metadata.crops, len(metadata.crops.crop_id)
    unknown = sorted(config.limits.keys() - crops.values.keys())
    if unknown:
        raise InputError(f"sample.limits names {unknown[0]!r}, which was not computed: add it to score.metrics")
    lost: dict[int, Rejection] = {
        i: Rejection(Reason.NOT_SCORED, detail=name)
        for name, values in crops.values.items()
        for i in np.flatnonzero(np.isnan(values)).tolist()
    }
    for name, best in config.limits.items():
        good = ~within_limit(crops.values[name], best, not lower_is_better[name])
        for i in np.flatnonzero(good).tolist():
            lost.setdefault(i, Rejection(Reason.GOOD_QUALITY, float(crops.values[name][i]), best, name))
    for i, seen in _in_train(crops.photo_phash, [i for i in range(num) if i not in lost], train, config):
        lost[i] = seen

    def place(i: int) -> bytes:
        return hashlib.blake2b(f"{config.seed}:{crops.crop_id[i]}".encode(), digest_size=16).digest()

    left = sorted((i for i in range(num) if i not in lost), key=place)
    return lost | {i: Rejection(Reason.NOT_DRAWN) for i in left[config.size :]}


def _in_train(
    photo_phash: np.ndarray, among: list[int], train: TrainPhotos, config: SampleConfig
) -> Iterator[tuple[int, Rejection]]:
    hashes = photo_phash[among]
    at, bits_apart = nearest(hashes, train.photo_phash)
    limit_bits = np.where(is_informative(hashes), config.near_duplicate_photo_bits, 0)
    for k in np.flatnonzero(bits_apart <= limit_bits).tolist():
        like = f"like the photo of crop {train.crop_id[at[k]]} in {train.snapshot.id}"
        yield among[k], Rejection(Reason.PHOTO_IN_TRAIN, float(bits_apart[k]), float(limit_bits[k]), like)


def planned_test(store: Store, name: str, sampled: Sequence[Shard], about: Content) -> Snapshot:
    """The benchmark that `build_test` makes, made or not."""
    drawn = sorted([shard.name, shard.digest_of("drawn")] for shard in sampled)
    return Snapshot(store, f"{name}-{digest('persona-test', VERSION, drawn, about)}", FOLDER)


def build_test(
    store: Store,
    name: str,
    scored: Sequence[ScoredShard],
    sampled: Sequence[Shard],
    *,
    about: Content,
    reports: Sequence[StageReport],
    on_progress: OnProgress | None = None,
) -> Snapshot:
    """Write the drawn crops as a benchmark; returns at once where that was done.

    Args:
        store: where everything lies.
        name: first part of the benchmark's name.
        scored: all crops that were drawn from.
        sampled: what `sample` returned.
        about: configuration, weights and the snapshot whose photos were left out.
        reports: the books of all stages, sampling included.
        on_progress: told how many more crops were written.

    Raises:
        ValueError: no crop was drawn.
    """
    benchmark = planned_test(store, name, sampled, about)
    if benchmark.is_committed():
        return benchmark
    drawn = pa.concat_tables([shard.read("drawn") for shard in sampled])
    if not drawn.num_rows:
        raise InputError("no crop is within sample.limits and unlike train, so there is nothing to draw: relax them")
    drawn = drawn.sort_by([(column, "ascending") for column in ("source", "shard", "crop_id")])
    shard_of = {(s.crops.source, s.crops.number): s for s in scored}
    facts = []
    for number, start in enumerate(range(0, drawn.num_rows, ROWS_PER_FILE)):
        pieces = tuple(pieces_of(drawn.slice(start, ROWS_PER_FILE), shard_of))
        schema = low_quality_schema(list(scored[0].scores))
        facts.append(write_part(benchmark, SPLIT, number, schema, _renamed(pieces, schema, on_progress)))
    funnel = [report.model_dump(mode="json") for report in reports]
    return commit_benchmark(benchmark, facts, {"benchmark": SPLIT, "name": name, **about, "funnel": funnel})


def low_quality_schema(metrics: Sequence[str]) -> pa.Schema:
    """Columns of a snapshot, with the picture called `lq`."""
    return with_image_feature(pa.schema([LQ, *(f for f in published_schema(metrics) if f.name != "image")]))


def _renamed(pieces: Sequence[Piece], schema: pa.Schema, on_progress: OnProgress | None) -> Iterator[pa.RecordBatch]:
    metrics = list(pieces[0].scored.scores)
    for batch in regrouped(rows_of(pieces, published_schema(metrics)), ROW_GROUP_ROWS):
        names = ["lq" if name == "image" else name for name in batch.schema.names]
        yield batch.rename_columns(names).select(schema.names).cast(schema)
        if on_progress:
            on_progress(batch.num_rows)
