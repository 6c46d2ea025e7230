"""What the App shows of a crop: its row, its scores and the verdict on it, joined without opening a picture."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.benchmark import batches_of, splits_of
from storage.errors import InputError
from storage.run_record import RunRecord
from storage.schema import CROPS, SELECTION
from storage.scored_crops import aligned, scored_shards
from storage.shard import Row, Shard
from storage.snapshot import Snapshot
from storage.store import Store

VERDICT = ["score", "verdict", "split", "reason", "metric", "value", "limit", "better_crop_id"]
GROUPS = ["duplicate_group", "photo_group"]
OWN = ["own_verdict", "duplicates", "margin", "nearest_limit"]
"""The pipeline's verdict without people; crops in the group; and how far from a change of verdict, in std of what."""

METADATA = [name for name in CROPS.names if name not in ("image", "photo_phash", "crop_phash")]

Batches = Callable[[list[str]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class CropFile:
    """One Parquet file of crops, and what is known of each of them besides."""

    key: str  # names the content
    batches: Batches  # the columns that are named, a row group at a time
    facts: pa.Table  # crop_id, VERDICT, GROUPS, OWN and a column per metric

    def records(self, shown: frozenset[str]) -> Iterator[Row]:
        """One row per crop in `shown`: METADATA and the facts."""
        here = pa.array(sorted(shown.intersection(self.facts["crop_id"].to_pylist())), pa.string())
        for batch in self.batches(METADATA) if len(here) else ():
            rows = batch.filter(pc.is_in(batch["crop_id"], here))
            if rows.num_rows:
                at = pc.index_in(rows["crop_id"], self.facts["crop_id"].combine_chunks())
                facts = self.facts.take(at).to_pylist()
                yield from (row | fact for row, fact in zip(rows.to_pylist(), facts, strict=True))


@dataclass(frozen=True)
class Browsed:
    """Everything of one dataset that can be looked at."""

    name: str
    root: str
    side_px: int
    statistics: list[Row]  # metric, lower_is_better, mean, std, limit
    files: list[CropFile]

    @property
    def metrics(self) -> list[str]:
        """The quality metrics, eq. 1 left out."""
        return [row["metric"] for row in self.statistics if row["metric"] != "score"]

    def sample(self, limit: int) -> frozenset[str]:
        """At most `limit` crop ids, some of every source, split and reason, and the better one of each duplicate.

        Which ones is decided by a hash of their ids, so a larger limit shows the same ones and more.
        """
        columns = ["crop_id", "source", "split", "reason", "metric", "better_crop_id"]
        tables = [file.facts.select(columns) for file in self.files]
        table = pa.concat_tables(tables)
        if table.num_rows <= limit:
            return frozenset(table["crop_id"].to_pylist())
        kinds: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in table.to_pylist():
            kinds[row["source"], row["split"], row["reason"], row["metric"]].append(row)
        for rows in kinds.values():
            rows.sort(key=lambda row: hashlib.blake2b(row["crop_id"].encode(), digest_size=8).digest())
        return frozenset(_in_turn(list(kinds.values()), limit))


def _in_turn(kinds: list[list[Row]], limit: int) -> set[str]:
    chosen: set[str] = set()
    for rank in range(max(map(len, kinds))):
        for rows in kinds:
            if rank < len(rows):
                row = rows[rank]
                wanted = {row["crop_id"], row["better_crop_id"]} - {None}
                if len(chosen | wanted) > limit:
                    return chosen
                chosen |= wanted
    return chosen


def browsed_run(store: Store, record: RunRecord) -> Browsed:
    """Every crop of a dataset's last run, kept or not.

    Raises:
        ValueError: the run never came to a selection.
    """
    shards = record.stages(store)
    if "select" not in shards:
        raise InputError(
            f"{record.name} was not selected yet, so there is nothing to browse: run `persona curate` first"
        )
    selection = pa.concat_tables([shard.read("selection") for shard in shards["select"]])
    statistics = shards["select"][0].read("statistics").to_pylist()
    selection = _with_own_verdict(_with_group_size(selection), shards["select"])
    files = []
    for scored in scored_shards(shards):
        crops = scored.crops
        here = pc.and_(pc.equal(selection["source"], crops.source), pc.equal(selection["shard"], crops.number))
        facts = selection.filter(here)
        for metric, shard in scored.scores.items():
            values = shard.read("scores", ["crop_id", "value"])
            facts = facts.append_column(metric, aligned(values, facts["crop_id"], "value"))
        files.append(CropFile(crops.key, _of_shard(crops), _with_margin(facts, statistics)))
    return Browsed(record.name, store.full(""), record.configuration["crop"]["side_px"], statistics, files)


def browsed_snapshot(snapshot: Snapshot) -> Browsed:
    """The crops of a published snapshot, wherever it lies: all of them are kept, and nothing else is known."""
    manifest = snapshot.manifest()
    statistics = [row.model_dump() for row in manifest.statistics]
    metrics = [row["metric"] for row in statistics if row["metric"] != "score"]
    files = []
    for split, paths in splits_of(snapshot).items():
        for path in paths:
            rows = pa.Table.from_batches(batches_of(snapshot, path, ["crop_id", "source", "score", *metrics]))
            known = {"verdict": "kept", "split": split, "own_verdict": "kept"}
            for name in [*VERDICT, *GROUPS, "own_verdict", "duplicates"]:
                if name not in rows.column_names:
                    rows = rows.append_column(name, pa.array([known.get(name)] * rows.num_rows, _type_of(name)))
            batches = _of_snapshot(snapshot, path)
            files.append(CropFile(f"{snapshot.id}-{split}", batches, _with_margin(rows, statistics)))
    side_px = manifest.configuration["crop"]["side_px"]
    return Browsed(snapshot.id, snapshot.store.full(snapshot.path), side_px, statistics, files)


def _of_shard(shard: Shard) -> Batches:
    return lambda columns: shard.batches("crops", columns)


def _of_snapshot(snapshot: Snapshot, path: str) -> Batches:
    return lambda columns: batches_of(snapshot, path, columns)


def _type_of(name: str) -> pa.DataType:
    return (
        SELECTION.field(name).type if name in SELECTION.names else pa.int64() if name == "duplicates" else pa.string()
    )


def _with_group_size(selection: pa.Table) -> pa.Table:
    """A column `duplicates`: how many crops the near-duplicate group has."""
    counted = pc.value_counts(selection["duplicate_group"].combine_chunks())
    at = pc.index_in(selection["duplicate_group"].combine_chunks(), counted.field("values"))
    return selection.append_column("duplicates", counted.field("counts").take(at))


def _with_own_verdict(selection: pa.Table, shards: Sequence[Shard]) -> pa.Table:
    """A column `own_verdict`: what the pipeline would have said without people."""
    reviewed = [
        shard.read("reviewed", ["crop_id", "own_verdict"]) for shard in shards if "reviewed" in shard.manifest().tables
    ]
    own = selection["verdict"].combine_chunks()
    if reviewed:
        table = pa.concat_tables(reviewed)
        at = pc.index_in(selection["crop_id"].combine_chunks(), table["crop_id"].combine_chunks())
        own = pc.coalesce(table["own_verdict"].combine_chunks().take(at), own)
    return selection.append_column("own_verdict", own)


def _with_margin(facts: pa.Table, statistics: Sequence[Row]) -> pa.Table:
    """Columns `margin`, distance to the limit that is passed by least or missed by most, and `nearest_limit`, its name.

    The distance is counted in standard deviations of its metric; below 0 is beyond the limit.
    """
    names, margins = [], []
    for row in statistics:
        if row["limit"] is not None and row["std"] > 0:
            values = facts[row["metric"]].to_numpy()
            sign = -1.0 if row["lower_is_better"] else 1.0
            names.append(row["metric"])
            margins.append(sign * (values - row["limit"]) / row["std"])
    margin = np.full(facts.num_rows, math.nan)
    nearest = np.full(facts.num_rows, None, object)
    if names and facts.num_rows:
        known = np.where(np.isnan(margins), np.inf, margins)
        margin = known.min(axis=0)
        nearest = np.array(names, object)[known.argmin(axis=0)]
    known_at_all = np.isfinite(margin)
    facts = facts.append_column("margin", pa.array(margin, pa.float64(), mask=~known_at_all))
    return facts.append_column("nearest_limit", pa.array(nearest, pa.string(), mask=~known_at_all))
