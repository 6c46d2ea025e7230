"""Chosen crops become a snapshot: Parquet files that open as pictures, a datasheet, and a manifest that ends the work.

What is written where is planned first. The parts of a plan know nothing of each other, so worker processes may write
them in any order; a part that is there already is not written again. Bytes depend on what is published alone: no
times, no host names.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveInt

from storage.digest import RowsDigest, digest, sha256_of_file
from storage.errors import InputError
from storage.frozen import Frozen
from storage.parquet import TableWriter
from storage.report import StageReport
from storage.schema import CROPS, with_image_feature
from storage.scored_crops import ScoredShard
from storage.sealed import Content
from storage.shard import Shard
from storage.snapshot import FORMAT_VERSION, FileFacts, Manifest, Snapshot, facts_of_written, note_written
from storage.store import Store
from tasks.publish.nothing_chosen import why_nothing
from tasks.select.review_effect import review_effect

SPLITS = ("train", "val")

MAX_ROW_GROUP_BYTES = 1 << 30
"""Arrow holds a column of a row group in less than 2 GiB, and every reader has to have room for one."""

OnProgress = Callable[[int], None]
"""Told how many more crops were written."""


class PublishConfig(Frozen):
    """How the files of a snapshot are cut."""

    rows_per_shard: PositiveInt = 1000
    """Crops per Parquet file; 1,000 are about 0.4 GB."""
    row_group_rows: PositiveInt = 32
    """Crops that a reader holds at a time; small groups let training jump around in a file."""


def check_row_group(config: PublishConfig, side_px: int) -> None:
    """Refuse row groups that could not be written, before anything is done.

    Raises:
        ValueError: with crops of this side a row group may become too large.
    """
    most = max(1, MAX_ROW_GROUP_BYTES // (3 * side_px * side_px))
    if config.row_group_rows > most:
        raise ValueError(
            f"publish.row_group_rows is {config.row_group_rows}: crops of {side_px}x{side_px} pixels take up to"
            f" {3 * side_px * side_px / 1e6:.1f} MB each, so take {most:,} at most"
        )


@dataclass(frozen=True)
class Piece:
    """Crops of one shard that go into one part."""

    scored: ScoredShard
    crop_ids: tuple[str, ...]
    scores: tuple[float, ...]  # eq. 1 of the paper


@dataclass(frozen=True)
class Part:
    """One Parquet file of a snapshot, to be written by any process."""

    snapshot: Snapshot
    path: str  # within the snapshot
    split: str
    row_group_rows: int
    pieces: tuple[Piece, ...]

    @property
    def num_rows(self) -> int:
        """Crops in the file."""
        return sum(len(piece.crop_ids) for piece in self.pieces)


@dataclass(frozen=True)
class SnapshotPlan:
    """What a snapshot will consist of; can be pickled."""

    snapshot: Snapshot
    parts: tuple[Part, ...]
    about: Content  # what the manifest says of its origin


def plan_snapshot(
    store: Store,
    name: str,
    scored_shards: Sequence[ScoredShard],
    selection_shards: Sequence[Shard],
    *,
    config: PublishConfig,
    config_dump: dict[str, Any],
    reports: Sequence[StageReport],
    weights: Mapping[str, str],
) -> SnapshotPlan:
    """Which crops go into which file: by source and hash of the photo, `rows_per_shard` at a time.

    That is the order of the crop shards too, however many photos each of them took. The snapshot's id is a digest of
    what is published and of what decided it, not of how it was made: neither shards, workers and folders nor the
    code's version are part of it, since the same once more is no reason to write hundreds of gigabytes again.

    Args:
        store: where the snapshot is written.
        name: of the dataset; the first part of the id.
        scored_shards: all that the selection was made from.
        selection_shards: what `select` returned.
        config: how the files are cut.
        config_dump: what `content()` says of the configuration of the run.
        reports: the books of all stages, selection included.
        weights: weights file of every network that had a say → its SHA-256.

    Raises:
        ValueError: no crop is chosen.
    """
    columns = ["crop_id", "source", "shard", "photo_id", "split", "score"]
    table = pa.concat_tables([shard.read("selection", columns) for shard in selection_shards])
    chosen = in_order(table.filter(table["split"].is_valid()))
    if not chosen.num_rows:
        raise InputError(why_nothing(reports))
    statistics = selection_shards[0].read("statistics").to_pylist()
    inputs = sorted(
        [s.crops.name, s.crops.digest_of("crops"), {metric: x.digest_of("scores") for metric, x in s.scores.items()}]
        for s in scored_shards
    )
    selections = sorted([shard.source, shard.digest_of("selection")] for shard in selection_shards)
    about = {
        "name": name,
        "inputs": {"crops_and_scores": inputs, "selection": selections},
        "configuration": config_dump,
        "publish": config.model_dump(mode="json"),
        "weights": dict(weights),
        "statistics": statistics,
        "funnel": [report.model_dump(mode="json") for report in reports],
    }
    effect = review_effect(selection_shards)
    if effect is not None:
        about["reviews"] = effect.counts()
    decided = {key: value for key, value in about.items() if key != "inputs"}  # these are told, and named after shards
    rows = crops_digest(s.crops for s in scored_shards), chosen_digest(chosen)
    snapshot = Snapshot(store, f"{name}-{digest('snapshot', FORMAT_VERSION, decided, rows)}")
    shard_of = {(s.crops.source, s.crops.number): s for s in scored_shards}
    parts = [
        Part(
            snapshot,
            f"{split}/{number:05d}.parquet",
            split,
            config.row_group_rows,
            tuple(pieces_of(rows.slice(start, config.rows_per_shard), shard_of)),
        )
        for split in SPLITS
        for rows in [chosen.filter(pc.equal(chosen["split"], split))]
        for number, start in enumerate(range(0, rows.num_rows, config.rows_per_shard))
    ]
    return SnapshotPlan(snapshot, tuple(parts), about)


def in_order(table: pa.Table) -> pa.Table:
    """Chosen crops by source and by the hash of their photo, which is how ingest spreads photos over shards."""
    photo_hash = pa.array([photo_hash_of(photo_id) for photo_id in table["photo_id"].to_pylist()], pa.uint64())
    order = [(column, "ascending") for column in ("source", "photo_hash", "photo_id", "crop_id")]
    return table.append_column("photo_hash", photo_hash).sort_by(order)


def photo_hash_of(photo_id: str) -> int:
    """The lower 64 bits of the id's MD5, as `md5_number_lower` of the ingest's database gives them."""
    return int.from_bytes(hashlib.md5(photo_id.encode(), usedforsecurity=False).digest()[8:], "little")


def crops_digest(shards: Iterable[Shard]) -> str:
    """Digest of all crops that were chosen from."""
    total = RowsDigest()
    for shard in shards:
        total.add_digest(shard.rows_digest())
    return total.hexdigest()


def chosen_digest(chosen: pa.Table) -> str:
    """Digest of which crops are published, in which split, with which score."""
    crops = hashlib.blake2b(digest_size=16)
    for name in ("crop_id", "split"):
        crops.update("\0".join(chosen[name].to_pylist()).encode())
    crops.update(chosen["score"].to_numpy().tobytes())
    return crops.hexdigest()


def pieces_of(rows: pa.Table, shard_of: Mapping[tuple[str, int], ScoredShard]) -> Iterator[Piece]:
    """Chosen crops by their shards; `rows` has crop_id, source, shard and score, in the order of shards."""
    for key, group in groupby(rows.to_pylist(), key=lambda row: (row["source"], row["shard"])):
        together = list(group)
        yield Piece(shard_of[key], tuple(r["crop_id"] for r in together), tuple(r["score"] for r in together))


def published_schema(metrics: Sequence[str]) -> pa.Schema:
    """Columns of a snapshot: those of the crops, one per metric, and `score`, eq. 1 of the paper.

    Raises:
        ValueError: a metric is named like a column of the crops.
    """
    extra = [*sorted(metrics), "score"]
    taken = set(CROPS.names) & set(extra)
    if taken:
        raise InputError(f"metric {taken.pop()!r} is named like a column of the crops: leave it out")
    added = [pa.field(name, pa.float64(), nullable=False) for name in extra]
    return with_image_feature(pa.schema([*CROPS, *added]))


def write_part(part: Part, on_progress: OnProgress | None = None) -> FileFacts:
    """Write one file of a snapshot, if it is not there yet; holds one row group of crops at a time.

    Raises:
        ValueError: a crop of the plan is not in its shard.
    """
    store, target = part.snapshot.store, part.snapshot.file(part.path)
    if written := facts_of_written(part.snapshot, part.path):
        if on_progress:
            on_progress(part.num_rows)
        return written
    schema = published_schema(list(part.pieces[0].scored.scores))
    with store.new_file(target, durable=True) as aside:
        writer = TableWriter(aside, schema)
        try:
            for batch in regrouped(rows_of(part.pieces, schema), part.row_group_rows):
                writer.extend(batch)
                if on_progress:
                    on_progress(batch.num_rows)
            num_bytes = writer.close().bytes
        except BaseException:
            writer.abandon()
            raise
        if writer.num_rows != part.num_rows:
            raise InputError(f"{target}: {part.num_rows} crops were chosen, {writer.num_rows} are there; select again")
        facts = FileFacts(part.path, part.split, part.num_rows, num_bytes, sha256_of_file(aside))
    return note_written(part.snapshot, facts)


def rows_of(pieces: Sequence[Piece], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The crops of some pieces with their scores, in the columns of `published_schema`."""
    for piece in pieces:
        wanted = pa.array(piece.crop_ids)
        added = [_values(piece.scored.scores[name], wanted) for name in sorted(piece.scored.scores)]
        added.append(pa.array(piece.scores, pa.float64()))
        for batch in piece.scored.crops.batches("crops", CROPS.names):
            at = pc.index_in(batch["crop_id"], wanted)
            if at.null_count < len(at):
                rows = batch.filter(at.is_valid()).select(CROPS.names)
                more = [values.take(at.drop_null()) for values in added]
                yield pa.RecordBatch.from_arrays([*rows.columns, *more], schema=schema)


def _values(scores: Shard, crop_ids: pa.Array) -> pa.Array:
    table = scores.read("scores", ["crop_id", "value"]).combine_chunks()
    return table["value"].combine_chunks().take(pc.index_in(crop_ids, table["crop_id"].combine_chunks()))


def regrouped(batches: Iterator[pa.RecordBatch], num_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `num_rows`, the last one shorter."""
    waiting: list[pa.RecordBatch] = []
    num_waiting = 0
    for batch in batches:
        while num_waiting + batch.num_rows >= num_rows:
            take = num_rows - num_waiting
            yield pa.concat_batches([*waiting, batch.slice(0, take)])
            batch = batch.slice(take)
            waiting, num_waiting = [], 0
        if batch.num_rows:
            waiting.append(batch)
            num_waiting += batch.num_rows
    if waiting:
        yield pa.concat_batches(waiting)


def commit_snapshot(plan: SnapshotPlan, facts: Sequence[FileFacts], code_version: str) -> Snapshot:
    """Describe the written parts, then write the manifest: the snapshot exists from then on.

    Args:
        plan: of which every part was written.
        facts: what `write_part` returned, in any order.
        code_version: of the code that made all this.
    """
    # Here, since worker processes that write parts need none of this library's imports.
    from tasks.publish.croissant import croissant
    from tasks.publish.datasheet import contents_of, datasheet

    snapshot = plan.snapshot
    if snapshot.is_committed():
        return snapshot
    files = sorted(facts, key=lambda file: file.path)
    metrics = [row["metric"] for row in plan.about["statistics"] if row["metric"] != "score"]
    schema = published_schema(metrics)
    manifest = {
        **plan.about,
        "format_version": FORMAT_VERSION,
        "id": snapshot.id,
        "code_version": code_version,
        "columns": {field.name: str(field.type) for field in schema},
        "contents": contents_of(snapshot, files, metrics),
        "files": files,
    }
    documents = {
        "README.md": datasheet(Manifest.model_validate(manifest), schema),
        "croissant.json": croissant(Manifest.model_validate(manifest), schema),
    }
    described = []
    for name, text in documents.items():
        with snapshot.store.new_file(snapshot.file(name), durable=True) as aside:
            aside.write_text(text, encoding="utf-8")
            described.append(FileFacts(name, None, None, aside.stat().st_size, sha256_of_file(aside)))
    snapshot.commit({**manifest, "files": [*files, *described]})
    return snapshot


def publish(plan: SnapshotPlan, code_version: str, on_progress: OnProgress | None = None) -> Snapshot:
    """Write and commit a planned snapshot in this process; returns at once where it exists."""
    if plan.snapshot.is_committed():
        return plan.snapshot
    return commit_snapshot(plan, [write_part(part, on_progress) for part in plan.parts], code_version)
