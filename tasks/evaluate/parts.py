"""A benchmark in parts of some dozen pictures: each is judged and kept by itself, so that a kill costs one part."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from storage.benchmark import schema_of, splits_of
from storage.parquet import Row
from storage.snapshot import Snapshot

PART_ROWS = 64


@dataclass(frozen=True)
class Part:
    """Consecutive row groups of one file of a benchmark."""

    benchmark: Snapshot
    number: int
    """Among all parts, from 0."""
    path: str
    groups: tuple[int, ...]
    num_rows: int

    def read(self, *columns: str) -> list[Row]:
        """Its rows, with those of the columns that the file has."""
        names = [name for name in columns if name in schema_of(self.benchmark, self.path).names]
        with self.benchmark.open(self.path) as parquet:
            rows: list[Row] = parquet.read_row_groups(list(self.groups), columns=names).to_pylist()
        return rows


def parts_of(benchmark: Snapshot) -> list[Part]:
    """All parts in the order of the benchmark; of PART_ROWS rows at most, where row groups are not larger."""
    parts: list[Part] = []
    for path in chain.from_iterable(splits_of(benchmark).values()):
        for groups, num_rows in _bundled(_group_sizes(benchmark, path)):
            parts.append(Part(benchmark, len(parts), path, groups, num_rows))
    return parts


def _group_sizes(benchmark: Snapshot, path: str) -> list[int]:
    with benchmark.open(path) as parquet:
        metadata = parquet.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _bundled(sizes: list[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    bundle: list[int] = []
    num_rows = 0
    for group, size in enumerate(sizes):
        if bundle and num_rows + size > PART_ROWS:
            yield tuple(bundle), num_rows
            bundle, num_rows = [], 0
        bundle.append(group)
        num_rows += size
    if bundle:
        yield tuple(bundle), num_rows
