"""What the report speaks of, read from a root or from a snapshot alone: counts, numbers of every crop, examples.

No picture is opened but those that are shown; of the crops only numbers stay in memory, about 8 bytes each.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dashboards.tiles import LoadPhoto, Tile, crop_tiles, decoded, duplicate_pairs, reject_tiles
from storage.manifest import FileFacts
from storage.parquet import open_parquet
from storage.report import StageReport
from storage.run_record import RunRecord
from storage.scored_crops import aligned, shards_by_metric
from storage.shard import Row, Shard
from storage.snapshot import REMEDY, load_manifest
from storage.store import Store

NUM_KEPT_SHOWN = 18
NUM_PER_REASON = 6
NUM_REJECTED_SHOWN = 150
NUM_PAIRS_SHOWN = 12

MEASURES = ("num_people", "source_side_px", "laplacian_variance")
"""Columns of the crops that the report draws, beside their scores."""


@dataclass(frozen=True)
class CropNumbers:
    """What was measured of N crops."""

    kept: np.ndarray  # (N,) bool; all False where nothing is selected yet
    columns: dict[str, np.ndarray]  # a measure, a metric or "score" → (N,) float64, NaN where there is none
    licences: dict[str, int]  # of the kept crops, or of all where nothing is selected yet
    splits: dict[str, int]  # train, val → kept crops


@dataclass(frozen=True)
class Dataset:
    """One dataset as far as its run came."""

    name: str
    snapshot: str | None  # id; None where none is published yet
    digest: str | None
    code_version: str | None
    configuration: dict[str, Any]
    reports: tuple[StageReport, ...]
    statistics: list[Row]  # per metric: lower_is_better, mean, std, limit
    crops: CropNumbers
    selected: bool
    published_alone: bool  # nothing is known of the crops that were not chosen
    kept: list[Tile] = field(default_factory=list)
    rejected: list[Tile] = field(default_factory=list)
    pairs: list[tuple[Tile, Tile]] = field(default_factory=list)  # left out, stays

    @property
    def metrics(self) -> list[str]:
        """The quality metrics that were computed."""
        return [name for name in self.crops.columns if name not in (*MEASURES, "score")]


def read_run(store: Store, record: RunRecord, load_photo: LoadPhoto) -> Dataset:
    """Everything under a root that the last run of a dataset stands on, whether it has finished or not."""
    shards = record.stages(store)
    crops, selection = shards.get("crop", []), shards.get("select", [])
    with_rejects = [shard for stage, found in shards.items() if stage != "select" for shard in found]
    manifest = load_manifest(store, record.snapshot) if record.snapshot else None
    rejected = crop_tiles(selection, crops, "rejected", NUM_REJECTED_SHOWN, NUM_PER_REASON) if selection else []
    return Dataset(
        name=record.name,
        snapshot=manifest.id if manifest else None,
        digest=manifest.digest if manifest else None,
        code_version=manifest.code_version if manifest else None,
        configuration=record.configuration,
        reports=record.reports,
        statistics=selection[0].read("statistics").to_pylist() if selection else [],
        crops=_numbers_of_run(crops, shards_by_metric(shards), selection),
        selected=bool(selection),
        published_alone=False,
        kept=crop_tiles(selection, crops, "kept", NUM_KEPT_SHOWN) if selection else [],
        rejected=reject_tiles(with_rejects, load_photo, NUM_REJECTED_SHOWN, NUM_PER_REASON) + rejected,
        pairs=duplicate_pairs(selection, crops, NUM_PAIRS_SHOWN) if selection else [],
    )


def read_snapshot(store: Store, path: str = "") -> Dataset:
    """What a published snapshot holds by itself.

    Raises:
        ValueError: it is none, or was changed since; one sentence.
    """
    manifest = load_manifest(store, path)
    files = [file for file in manifest.files if file.split]
    metrics = [row.metric for row in manifest.statistics]
    tables = [_read(store, path, file, [*MEASURES, *metrics, "licence"]) for file in files]
    table = pa.concat_tables(tables)
    splits: Counter[str] = Counter()
    for file in files:
        splits[file.split or ""] += file.rows or 0
    return Dataset(
        name=manifest.name,
        snapshot=manifest.id,
        digest=manifest.digest,
        code_version=manifest.code_version,
        configuration=manifest.configuration,
        reports=manifest.funnel,
        statistics=[row.model_dump() for row in manifest.statistics],
        crops=CropNumbers(
            kept=np.ones(table.num_rows, bool),
            columns={name: _floats(table[name]) for name in (*MEASURES, *metrics)},
            licences=_counted(table["licence"]),
            splits=dict(splits),
        ),
        selected=True,
        published_alone=True,
        kept=_published_tiles(store, path, files),
    )


def _numbers_of_run(
    crops: Sequence[Shard], scores: Mapping[str, Sequence[Shard]], selection: Sequence[Shard]
) -> CropNumbers:
    """Source by source, so that ids of no more than one are held at a time."""
    columns: dict[str, list[np.ndarray]] = {}
    kept: list[np.ndarray] = []
    licences: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    for source in dict.fromkeys(shard.source for shard in crops):
        table = _concat(crops, source, "crops", ["crop_id", *MEASURES, "licence"])
        of_crops = {name: _floats(table[name]) for name in MEASURES}
        for metric, shards in scores.items():
            scored = _concat(shards, source, "scores", ["crop_id", "value"])
            of_crops[metric] = _floats(aligned(scored, table["crop_id"], "value"))
        is_kept = np.zeros(table.num_rows, bool)
        if selection:
            chosen = _concat(selection, source, "selection", ["crop_id", "score", "split"])
            of_crops["score"] = _floats(aligned(chosen, table["crop_id"], "score"))
            split = aligned(chosen, table["crop_id"], "split")
            splits.update(_counted(split.drop_null()))
            is_kept = split.is_valid().to_numpy()
        licence = table["licence"].filter(pa.array(is_kept)) if selection else table["licence"]
        licences.update(_counted(licence))
        for name, values in of_crops.items():
            columns.setdefault(name, []).append(values)
        kept.append(is_kept)
    return CropNumbers(
        kept=np.concatenate(kept) if kept else np.zeros(0, bool),
        columns={name: np.concatenate(values) for name, values in columns.items()},
        licences=dict(licences),
        splits=dict(splits),
    )


def _concat(shards: Sequence[Shard], source: str, table: str, columns: list[str]) -> pa.Table:
    tables = [shard.read(table, columns) for shard in shards if shard.source == source]
    return pa.concat_tables(tables)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy()


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    counts = pc.value_counts(pc.fill_null(column, "not named")).to_pylist()
    return {row["values"]: row["counts"] for row in counts}


def _read(store: Store, path: str, file: FileFacts, columns: list[str]) -> pa.Table:
    with open_parquet(store, f"{path}/{file.path}" if path else file.path, REMEDY) as parquet:
        return parquet.read(columns=columns)


def _published_tiles(store: Store, path: str, files: Sequence[FileFacts]) -> list[Tile]:
    """The first crop of some row groups, spread over the whole snapshot."""
    tiles: list[Tile] = []
    each = -(-NUM_KEPT_SHOWN // len(files))
    for file in files:
        with open_parquet(store, f"{path}/{file.path}" if path else file.path, REMEDY) as parquet:
            groups = sorted({i * parquet.num_row_groups // each for i in range(each)})
            columns = ["image", "crop_id", "source", "score", "num_people"]
            for group in groups:
                rows = parquet.read_row_group(group, columns=columns).slice(0, -(-each // len(groups)))
                tiles += [_published_tile(row, file.split or "") for row in rows.to_pylist()]
    return tiles[:NUM_KEPT_SHOWN]


def _published_tile(row: Row, split: str) -> Tile:
    people = f"{row['num_people']} {'person' if row['num_people'] == 1 else 'people'}"
    lines = (f"{row['source']}  {people}", f"score {row['score']:+.2f}  {split}", row["crop_id"])
    return Tile(decoded(row["image"]["bytes"]), lines)
