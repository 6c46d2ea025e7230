"""In which order the crops of a snapshot are trained on: shuffled, and known without opening a picture.

An epoch visits the row groups of all train files in a shuffled order. As many of them as make up a window are mixed
crop by crop; a reader holds no more than one window. The crops of all epochs form one endless sequence of positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from model.data.item_rng import item_rng
from model.data.published import open_published
from storage.errors import InputError
from storage.snapshot import load_manifest
from storage.store import Store

GROUPS_PER_WINDOW = 32
"""With 32 crops of 0.4 MB in a row group, a window is 1,024 crops, 0.4 GB."""


class RowGroup(NamedTuple):
    """A few crops that are read together."""

    path: str  # within the snapshot
    number: int  # within the file
    num_rows: int


class Window(NamedTuple):
    """Neighbours in the order."""

    epoch: int
    start: int
    """Position of its first crop, counted over all epochs."""
    groups: list[RowGroup]
    rows: np.ndarray
    """(N,) row of each crop in order, counted over `groups` one after another."""


@dataclass(frozen=True)
class CropOrder:
    """The order that a seed gives; a function of snapshot and seed, whoever reads how much of it."""

    groups: tuple[RowGroup, ...]
    seed: int

    @cached_property
    def num_crops(self) -> int:
        """Crops per epoch."""
        return sum(group.num_rows for group in self.groups)

    def windows(self, first_position: int) -> Iterator[Window]:
        """All windows from the one that holds that position, without end."""
        epoch = first_position // self.num_crops
        while True:
            for window in self._epoch(epoch):
                if window.start + len(window.rows) > first_position:
                    yield window._replace(rows=self._mixed(window))
            epoch += 1

    def _epoch(self, epoch: int) -> Iterator[Window]:
        """The windows of one epoch, not mixed yet."""
        order = item_rng("row groups", self.seed, epoch).permutation(len(self.groups))
        start = epoch * self.num_crops
        for i in range(0, len(order), GROUPS_PER_WINDOW):
            groups = [self.groups[j] for j in order[i : i + GROUPS_PER_WINDOW]]
            window = Window(epoch, start, groups, np.arange(sum(group.num_rows for group in groups)))
            yield window
            start += len(window.rows)

    def _mixed(self, window: Window) -> np.ndarray:
        return item_rng("window", self.seed, window.start).permutation(window.rows)


def crop_order(snapshot: Store, seed: int) -> CropOrder:
    """The order of a snapshot's train split, from its manifest and the Parquet files' footers.

    Args:
        snapshot: the snapshot's folder as root.
        seed: of the shuffling.

    Raises:
        ValueError: it is no snapshot, has nothing to train on, or was changed.
    """
    files = load_manifest(snapshot, "").of_split("train")
    groups = []
    for file in files:
        found = _row_groups(snapshot, file.path)
        if sum(group.num_rows for group in found) != file.rows:
            raise InputError(f"{snapshot.root}/{file.path} was published with {file.rows} crops: publish again")
        groups += found
    if not groups:
        raise InputError(f"{snapshot.root} has no train split: take a snapshot with one")
    return CropOrder(tuple(groups), seed)


def _row_groups(snapshot: Store, path: str) -> list[RowGroup]:
    with open_published(snapshot, path) as parquet:
        metadata = parquet.metadata
    counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    return [RowGroup(path, i, num_rows) for i, num_rows in enumerate(counts) if num_rows]
