"""Restore and measure a contender part by part; every picture and every value that is kept is only read.

evaluations/
    pictures/LABEL-KEY/00000.parquet          what a model restored: crop_id, restored
    values/LABEL-KEY/failure/00000.parquet    crop_id, and why there is no picture
    values/LABEL-KEY/METRIC-KEY/00000.parquet crop_id, value; of FID the Inception features

So a killed evaluation goes on at the part where it was, and one more metric restores nothing again. All of it can be
deleted at any time: it is made again where it is needed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.network.weights import ResolvedDevice, ResolvedPrecision
from storage.digest import digest
from storage.evaluation import FOLDER
from storage.parquet import Row, open_parquet
from storage.schema import IMAGE
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.crop.crop import encode_png
from tasks.evaluate.candidates import Contender, Pictures, Restore
from tasks.evaluate.parts import Part
from tasks.images.pictures import decoded
from tasks.metrics.suite import FID, measure_metric

VERSION = 1
"""Part of every key here; raised whenever the same input would give another picture or value."""

FAILURE = "failure"


@dataclass(frozen=True)
class Judge:
    """One contender on one benchmark, on one device and in one precision."""

    benchmark: Snapshot
    contender: Contender
    weights: Mapping[str, dict[str, str]]
    """Metric → its weights files and their SHA-256."""
    device: ResolvedDevice
    precision: ResolvedPrecision | None
    batch_size: int

    @cached_property
    def folder(self) -> str:
        """Name of its folders, after everything that decides a picture."""
        about = self.benchmark.manifest().digest, self.contender.identity, self.device, self.precision
        return f"{self.contender.label}-{digest('restored', VERSION, *about)}"

    @property
    def store(self) -> Store:
        """Below which everything is kept."""
        return self.benchmark.store

    def judge(self, part: Part) -> None:
        """Make every value of the part that is not there yet."""
        missing = [name for name in (FAILURE, *self.weights) if not self.store.exists(self._path(name, part))]
        if not missing:
            return
        rows = part.read("crop_id", "lq", "hq", "recipe")
        pictures = self.pictures(part, rows)
        for name in missing:
            self._write(self._path(name, part), rows, "value", self._column(name, rows, pictures))

    def values(self, name: str, part: Part) -> pa.ChunkedArray:
        """A column of a judged part: a metric, or FAILURE; in the order of its rows."""
        return self._read(self._path(name, part))["value"]

    def hq_features(self, part: Part) -> np.ndarray:
        """(N, 2048) Inception features of the part's HQ pictures, the same for every contender."""
        about = self.benchmark.manifest().digest, self.device
        path = f"{FOLDER}/values/hq-{digest('hq', VERSION, *about)}/{self._measure(FID)}/{part.number:05d}.parquet"
        if not self.store.exists(path):
            rows = part.read("crop_id", "hq")
            hq = [decoded(row, "hq") for row in rows]
            self._write(path, rows, "value", _features(measure_metric(FID, hq, rows, self.device, self.batch_size)))
        return np.stack(self._read(path)["value"].to_numpy())

    def pictures(self, part: Part, rows: list[Row]) -> Pictures:
        """What the contender makes of the part's rows; a model's pictures are kept."""
        path = f"{FOLDER}/pictures/{self.folder}/{part.number:05d}.parquet"
        if self.contender.kind == "model" and self.store.exists(path):
            return [_picture(row) for row in self._read(path).to_pylist()]
        likes = [decoded(row, "hq" if "hq" in row else "lq") for row in rows]
        made = [_of_one_size(picture, like) for picture, like in zip(self._restored(rows), likes, strict=True)]
        if self.contender.kind == "model":
            kept = [None if isinstance(p, str) else {"bytes": encode_png(p), "path": None} for p in made]
            why = pa.array([p if isinstance(p, str) else None for p in made], pa.string())
            self._write(path, rows, "restored", pa.array(kept, IMAGE), failure=why)
        return made

    def _restored(self, rows: list[Row]) -> Pictures:
        made: Pictures = []
        for start in range(0, len(rows), self.batch_size):
            made += self._restore(rows[start : start + self.batch_size])
        return made

    @cached_property
    def _restore(self) -> Restore:
        return self.contender.prepare(self.device, self.precision)

    def _column(self, name: str, rows: list[Row], pictures: Pictures) -> pa.Array:
        if name == FAILURE:
            return pa.array([picture if isinstance(picture, str) else None for picture in pictures], pa.string())
        usable = {i: picture for i, picture in enumerate(pictures) if not isinstance(picture, str)}
        measured = measure_metric(
            name, list(usable.values()), [rows[i] for i in usable], self.device, self.batch_size, self.weights[name]
        )
        found = dict(zip(usable, measured, strict=True))
        if name == FID:
            return _features([found.get(i) for i in range(len(rows))])
        values = [found.get(i, math.nan) for i in range(len(rows))]
        return pa.array([value if math.isfinite(value) else None for value in values], pa.float64())

    def _path(self, name: str, part: Part) -> str:
        column = name if name == FAILURE else self._measure(name)
        return f"{FOLDER}/values/{self.folder}/{column}/{part.number:05d}.parquet"

    def _measure(self, metric: str) -> str:
        return f"{metric}-{digest('measure', VERSION, metric, self.weights[metric], version('pyiqa'))}"

    def _write(self, path: str, rows: list[Row], name: str, column: pa.Array, **more: pa.Array) -> None:
        ids = pa.array([row["crop_id"] for row in rows], pa.string())
        with self.store.new_file(path) as aside:
            pq.write_table(pa.table({"crop_id": ids, name: column, **more}), aside, compression="none")

    def _read(self, path: str) -> pa.Table:
        with open_parquet(self.store, path, "delete it, and evaluate again") as parquet:
            return parquet.read()


def _features(found: list[Any]) -> pa.Array:
    return pa.array([None if features is None else features.tolist() for features in found], pa.list_(pa.float32()))


def _picture(row: Row) -> np.ndarray | str:
    return decoded(row, "restored") if row["restored"] else str(row["failure"])


def _of_one_size(picture: np.ndarray | str, like: np.ndarray) -> np.ndarray | str:
    if isinstance(picture, str) or picture.shape == like.shape:
        return picture
    (height, width), (wanted_height, wanted_width) = picture.shape[:2], like.shape[:2]
    return f"the picture is {width}x{height} px, not {wanted_width}x{wanted_height}"
