"""What two splits share that they must not: photos, near-duplicate photos, near-duplicate crops, across all sources.

Only ids, hashes and other small columns are read; no picture is opened.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.benchmark import batches_of, schema_of, splits_of
from storage.errors import InputError
from storage.schema import CROPS
from storage.snapshot import Snapshot
from tasks.select.near_duplicates import HASH_BITS, hamming, is_informative, neighbours

LIMIT_BITS = 6
"""Hashes that differ in at most so many bits belong to near-duplicates; the default of `select` too."""

_COLUMNS = ("crop_id", "source", "photo_id", "photo_phash", "crop_phash", "num_people", "licence")


@dataclass(frozen=True)
class Side:
    """One crop of a pair."""

    split: str
    origin: str  # id of the snapshot or benchmark
    source: str
    photo_id: str
    crop_id: str


@dataclass(frozen=True)
class Leak:
    """Two crops of different splits that show the same photo."""

    a: Side
    b: Side
    same_photo: bool  # the same id in the same source
    photo_bits: int  # how many bits the hashes of the photos differ in
    crop_bits: int  # the same of the crops

    def sentence(self) -> str:
        """The pair in words, with both distances."""
        what = "the same photo" if self.same_photo else "near-duplicates"
        sides = (f"{s.split} crop {s.crop_id} ({s.source}, photo {s.photo_id}, {s.origin})" for s in (self.a, self.b))
        return (
            f"{what}: {' and '.join(sides)}; {self.photo_bits} of {HASH_BITS} bits between the photos,"
            f" {self.crop_bits} between the crops"
        )


@dataclass(frozen=True)
class Metrics:
    """One quality metric over the crops of a split."""

    num: int
    mean: float
    std: float  # of the population
    quantiles: tuple[float, float, float]  # 5 %, 50 %, 95 %


@dataclass(frozen=True)
class Contents:
    """What a split consists of."""

    num_crops: int
    num_photos: int
    people_per_crop: float
    sources: dict[str, int]  # source → crops
    licences: dict[str, int]  # licence → crops
    metrics: dict[str, Metrics]


def audit(published: Sequence[Snapshot], limit_bits: int = LIMIT_BITS) -> tuple[list[Leak], dict[str, Contents]]:
    """What the splits share, and what each consists of.

    Splits of the same name are one: the val split of a snapshot and a benchmark made of it hold the same crops.

    Args:
        published: a snapshot and the benchmarks that models trained on it are judged on.
        limit_bits: hashes that differ in at most so many bits are near-duplicates.

    Returns:
        Pairs of crops, the closest photos first, and the contents by `SPLIT of ID`.
    """
    tables = {(p.id, split): _read(p, paths) for p in published for split, paths in splits_of(p).items()}
    contents = {f"{split} of {name}": contents_of(table) for (name, split), table in tables.items()}
    columns = [name for name in _COLUMNS if name not in ("num_people", "licence")]
    marked = [
        table.select(columns)
        .append_column("split", pa.array([split] * table.num_rows, pa.string()))
        .append_column("origin", pa.array([name] * table.num_rows, pa.string()))
        for (name, split), table in tables.items()
    ]
    return leaks(pa.concat_tables(marked), limit_bits), contents


def _read(published: Snapshot, paths: Iterable[str]) -> pa.Table:
    """All columns but pictures and boxes of some files."""
    batches: list[pa.RecordBatch] = []
    for path in paths:
        schema = schema_of(published, path)
        if not set(_COLUMNS) <= set(schema.names):
            raise InputError(f"{published.id} was imported, and nothing is known of its photos: audit without it")
        numbers = [field.name for field in schema if field.type == pa.float64()]
        names = [*_COLUMNS, *(name for name in numbers if name not in CROPS.names)]
        batches += batches_of(published, path, names)
    return pa.Table.from_batches(batches)


def leaks(crops: pa.Table, limit_bits: int) -> list[Leak]:
    """Every pair of crops of different splits that share their photo or nearly show the same.

    Two crops are a pair if they come from one photo (same source and id), if the hashes of their photos or those of
    the crops are within the limit, or if both hashes of a kind are equal. A hash that says nothing, that of a flat
    picture, counts only if it is equal.

    Args:
        crops: split, origin, source, photo_id, crop_id, photo_phash, crop_phash.
        limit_bits: inclusive, 0 to 11.
    """
    split = crops["split"].combine_chunks().dictionary_encode().indices.to_numpy()
    photo = pc.binary_join_element_wise(crops["source"], crops["photo_id"], "\0").to_numpy()
    photo_phash, crop_phash = crops["photo_phash"].to_numpy(), crops["crop_phash"].to_numpy()
    pairs = set(_equal_pairs(photo, split))
    for hashes in (photo_phash, crop_phash):
        pairs.update(_equal_pairs(hashes, split), _near_pairs(hashes, split, limit_bits))
    if not pairs:
        return []
    a, b = np.array(sorted(pairs)).T
    photo_bits, crop_bits = hamming(photo_phash[a], photo_phash[b]), hamming(crop_phash[a], crop_phash[b])
    names = crops.select(["split", "origin", "source", "photo_id", "crop_id"])
    sides = [[Side(**row) for row in names.take(pa.array(end)).to_pylist()] for end in (a, b)]
    columns = zip(*sides, (photo[a] == photo[b]).tolist(), photo_bits.tolist(), crop_bits.tolist(), strict=True)
    found = [Leak(*column) for column in columns]
    return sorted(found, key=lambda leak: (not leak.same_photo, leak.photo_bits, leak.crop_bits))


def _equal_pairs(values: np.ndarray, split: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of rows with equal values in different splits."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, values[order][1:] != values[order][:-1]])
    for group in np.split(order, starts[1:]):
        if len(group) > 1 and len(np.unique(split[group])) > 1:
            yield from _crossed(group, group, split)


def _near_pairs(hashes: np.ndarray, split: np.ndarray, limit_bits: int) -> Iterator[tuple[int, int]]:
    """Pairs of rows with different hashes that are within the limit, in different splits."""
    values, number = np.unique(hashes, return_inverse=True)
    candidates = np.flatnonzero(is_informative(values))
    order = np.argsort(number, kind="stable")
    bounds = np.r_[0, np.cumsum(np.bincount(number, minlength=len(values)))]
    for u, v in candidates[neighbours(values[candidates], limit_bits)]:
        yield from _crossed(order[bounds[u] : bounds[u + 1]], order[bounds[v] : bounds[v + 1]], split)


def _crossed(some: np.ndarray, others: np.ndarray, split: np.ndarray) -> Iterator[tuple[int, int]]:
    for i in some.tolist():
        for j in others.tolist():
            if split[i] != split[j]:
                yield min(i, j), max(i, j)


def contents_of(table: pa.Table) -> Contents:
    """Numbers of crops, photos, people, sources and licences, and the distribution of every metric."""
    metrics = [name for name in table.column_names if name not in _COLUMNS]
    photos = table.group_by(["source", "photo_id"]).aggregate([])
    return Contents(
        num_crops=table.num_rows,
        num_photos=photos.num_rows,
        people_per_crop=pc.mean(table["num_people"]).as_py(),
        sources=_counts(table["source"]),
        licences=_counts(table["licence"].fill_null("not stated")),
        metrics={metric: _metrics(table[metric].to_numpy()) for metric in metrics},
    )


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return dict(sorted((row["values"], row["counts"]) for row in pc.value_counts(column).to_pylist()))


def _metrics(values: np.ndarray) -> Metrics:
    low, middle, high = np.percentile(values, [5, 50, 95])
    return Metrics(len(values), float(values.mean()), float(values.std()), (float(low), float(middle), float(high)))


def table_rows(contents: Mapping[str, Contents], published: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Contents as lines of a table, the heading first, with the paper's means per dataset below."""
    metrics = sorted({metric for split in contents.values() for metric in split.metrics})
    rows: list[list[Any]] = [["", "crops", "photos", "people per crop", *metrics]]
    for name, split in contents.items():
        cells = [_cell(split.metrics.get(metric)) for metric in metrics]
        rows.append([name, f"{split.num_crops:,}", f"{split.num_photos:,}", f"{split.people_per_crop:.4f}", *cells])
    for name, means in published.items():
        cells = [f"{means[metric]:.4f}" if metric in means else "" for metric in metrics]
        if any(cells):
            rows.append([f"{name} in the paper", "", "", "", *cells])
    return rows


def _cell(metric: Metrics | None) -> str:
    if metric is None:
        return ""
    low, middle, high = metric.quantiles
    return f"{metric.mean:.4f} ({low:.4g}, {middle:.4g}, {high:.4g})"
