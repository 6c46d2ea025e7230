"""Judge restored pictures on a benchmark with the paper's metrics: one pass over the pictures, all values kept."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, PositiveInt, field_validator

from model.network.weights import Device, WeightsUnavailableError, resolve_device
from storage.benchmark import OnProgress, batches_of, has_hq, schema_of, splits_of
from storage.code_version import code_version
from storage.digest import digest
from storage.errors import InputError
from storage.evaluation import (
    EXAMPLES,
    FILE,
    FOLDER,
    BenchmarkName,
    Evaluation,
    MetricResult,
    load_evaluation,
)
from storage.frozen import HOW, Frozen
from storage.known_weights import hashes_of, remember, remembered
from storage.shard import Row
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.evaluate.candidates import Contender
from tasks.evaluate.examples import Examples
from tasks.images.pictures import decoded
from tasks.metrics.bootstrap import interval_of
from tasks.metrics.iqa import lower_is_better, mode_of, weights_files
from tasks.metrics.suite import Meter

VERSION = 2
"""Part of every evaluation's id; raised whenever the same input would give another output."""

PER_IMAGE = "per_image.parquet"
EXAMPLES_FILE = "examples.parquet"

NOTES = {
    "lpips": "LPIPS version 0.1 with AlexNet",
    "psnr": "on Y of YCbCr, nothing cut off at the border",
    "ssim": "on Y of YCbCr, nothing cut off at the border",
    "fid": "clean-fid resizing, Inception features, all HQ pictures of the benchmark as reference",
    "maniqa-pipal": "MANIQA trained on PIPAL, as in the paper",
    "musiq": "MUSIQ trained on KonIQ-10k",
}

_PRIMARY = ("lpips", "dists", "ssim", "psnr", "musiq", "maniqa-pipal", "clipiqa", "niqe")
"""Best and worst are chosen by the first of these that there is."""


class EvaluateConfig(Frozen):
    """Which metrics judge the pictures, and how they run."""

    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "dists",
        "lpips",
        "psnr",
        "ssim",
        "fid",
        "clipiqa",
        "maniqa-pipal",
        "musiq",
        "niqe",
    )
    """By pyiqa's names; by default the paper's nine. Without HQ pictures those that need no reference are computed."""
    batch_size: Annotated[PositiveInt, HOW] = 8
    """Pictures per pass through a network."""
    device: Annotated[Device, HOW] = "auto"
    """Where networks run; auto takes a GPU if there is one."""
    num_resamples: PositiveInt = 2000
    """Draws of the bootstrap."""
    seed: int = 0
    """Of the bootstrap's draws."""

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for name in metrics:
            mode_of(name)
        if len(set(metrics)) < len(metrics):
            raise ValueError("a metric is named twice")
        return metrics


def evaluate(
    benchmark: Snapshot,
    contender: Contender,
    config: EvaluateConfig,
    *,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Judge a contender; what was judged before is only read.

    A picture that is missing or of another size costs its own row in `per_image.parquet`, with the reason.

    Args:
        benchmark: committed.
        contender: what is judged.
        config: the metrics.
        strict: let a metric whose weights cannot be loaded be an error instead of a note.
        on_progress: told how many more pictures were judged.

    Raises:
        WeightsUnavailableError: the model's weights cannot be loaded or, if `strict`, those of a metric.
        ValueError: no picture at all can be judged.
    """
    manifest = benchmark.manifest()
    name = BenchmarkName(id=benchmark.id, digest=manifest["digest"], has_hq=has_hq(manifest))
    metrics = [metric for metric in config.metrics if name.has_hq or mode_of(metric) == "NR"]
    weights, unavailable = _loadable(benchmark.store, metrics, strict)
    asked = {**config.content(), "metrics": metrics}
    key = digest("evaluate", VERSION, name, contender.identity, contender.remarks, asked, weights, version("pyiqa"))
    store, folder = benchmark.store, f"{FOLDER}/{contender.label}-{key}"
    if store.exists(f"{folder}/{FILE}"):
        return load_evaluation(store, folder)

    meter = Meter(list(weights), resolve_device(config.device), config.batch_size)
    primary = next((metric for metric in _PRIMARY if metric in meter.per_image), None)
    judged = _judged(benchmark, contender, config, meter, on_progress)
    table = _write(store, folder, judged, meter.per_image, primary)
    failures = table["failure"].drop_null()
    if len(failures) == table.num_rows:
        why = failures[0] if len(failures) else "the benchmark is empty"
        raise InputError(f"no picture of {contender.label} can be judged: {why}")
    results = {metric: _unavailable(metric, why) for metric, why in unavailable.items()}
    for metric in weights:
        of_images = metric in table.column_names
        results[metric] = _of_values(metric, table[metric], config) if of_images else _of_a_set(metric, meter)
    evaluation = Evaluation(
        id=folder.split("/")[1],
        label=contender.label,
        kind=contender.kind,
        benchmark=name,
        metrics={metric: results[metric] for metric in metrics},
        primary=primary,
        num_images=table.num_rows,
        num_failed=len(failures),
        remarks=contender.remarks,
        weights=weights,
        notes={metric: NOTES[metric] for metric in metrics if metric in NOTES},
        code_version=code_version(),
    )
    store.write_text(f"{folder}/{FILE}", evaluation.model_dump_json(indent=1) + "\n")
    return evaluation


def _loadable(store: Store, metrics: Sequence[str], strict: bool) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Metric → hashes of its weights, and metric → why they cannot be had; known before any picture is read.

    What was loaded once below this root is not loaded again to learn its hashes.
    """
    known = remembered(store)
    found, unavailable = {}, {}
    for metric in (metric for metric in metrics if metric not in known):
        try:
            found[metric] = weights_files(metric)
        except WeightsUnavailableError as error:
            if strict:
                raise
            unavailable[metric] = str(error)
    if found:
        remember(store, found)
    return {m: hashes_of((known | found)[m]) for m in metrics if m not in unavailable}, unavailable


@dataclass(frozen=True)
class _Judged:
    """What became of one picture."""

    row: Row  # of the benchmark
    restored: np.ndarray | None
    failure: str | None
    values: dict[str, float]  # NaN where a metric has none


def _judged(
    benchmark: Snapshot, contender: Contender, config: EvaluateConfig, meter: Meter, on_progress: OnProgress | None
) -> Iterator[_Judged]:
    """Restore and measure all pictures, a batch in memory at a time."""
    restore = contender.prepare(config.device)
    for rows in _batches(benchmark, config.batch_size):
        lq = [decoded(row, "lq") for row in rows]
        hq = [decoded(row, "hq") for row in rows] if "hq" in rows[0] else None
        pictures = restore([row["crop_id"] for row in rows], lq)
        pictures = [_of_one_size(picture, like) for picture, like in zip(pictures, hq or lq, strict=True)]
        restored = {i: picture for i, picture in enumerate(pictures) if not isinstance(picture, str)}
        measured = iter(meter.measure(list(restored.values()), [hq[i] for i in restored] if hq else None))
        for row, picture in zip(rows, pictures, strict=True):
            if isinstance(picture, str):
                yield _Judged(row, None, picture, dict.fromkeys(meter.per_image, math.nan))
            else:
                yield _Judged(row, picture, None, next(measured))
        if on_progress:
            on_progress(len(rows))


def _batches(benchmark: Snapshot, num_rows: int) -> Iterator[list[Row]]:
    for path in chain.from_iterable(splits_of(benchmark).values()):
        names = {"crop_id", "source", "lq", "hq"} & set(schema_of(benchmark, path).names)
        for batch in batches_of(benchmark, path, sorted(names)):
            for start in range(0, batch.num_rows, num_rows):
                yield batch.slice(start, num_rows).to_pylist()


def _of_one_size(picture: np.ndarray | str, like: np.ndarray) -> np.ndarray | str:
    if isinstance(picture, str) or picture.shape == like.shape:
        return picture
    (height, width), (wanted_height, wanted_width) = picture.shape[:2], like.shape[:2]
    return f"the picture is {width}x{height} px, not {wanted_width}x{wanted_height}"


def per_image_schema(metrics: Sequence[str]) -> pa.Schema:
    """Columns of `per_image.parquet`: null where a metric has no value."""
    ids = [pa.field(name, pa.string(), nullable=False) for name in ("crop_id", "source")]
    return pa.schema([*ids, ("failure", pa.string()), *((metric, pa.float64()) for metric in metrics)])


def _write(
    store: Store, folder: str, judged: Iterator[_Judged], metrics: Sequence[str], primary: str | None
) -> pa.Table:
    """Every value as a row of `per_image.parquet`, best and worst as rows of `examples.parquet`; returns the former."""
    rows = []
    examples = Examples(primary is not None and lower_is_better(primary))
    for one in judged:
        values = {metric: value if math.isfinite(value) else None for metric, value in one.values.items()}
        rows.append({"crop_id": one.row["crop_id"], "source": one.row["source"], "failure": one.failure, **values})
        if one.restored is not None and primary:
            examples.offer(one.row, one.restored, one.values[primary])
    table = pa.Table.from_pylist(rows, per_image_schema(metrics))  # some 100 bytes a picture
    with store.new_file(f"{folder}/{PER_IMAGE}") as aside:
        pq.write_table(table, aside)
    with store.new_file(f"{folder}/{EXAMPLES_FILE}") as aside:
        pq.write_table(pa.Table.from_pylist(list(examples.rows()), EXAMPLES), aside, compression="none")
    return table


def _unavailable(metric: str, why: str) -> MetricResult:
    return MetricResult(lower_is_better=lower_is_better(metric), unavailable=why)


def _of_a_set(metric: str, meter: Meter) -> MetricResult:
    fid = meter.fid()
    if fid is None:
        return _unavailable(metric, f"{metric} needs two pictures at least")
    return MetricResult(lower_is_better=lower_is_better(metric), mean=fid, num=meter.num_in_sets)


def _of_values(metric: str, column: pa.ChunkedArray, config: EvaluateConfig) -> MetricResult:
    values = column.drop_null().to_numpy()
    if not len(values):
        return _unavailable(metric, f"{metric} has a finite value for no picture")
    low, high = interval_of(values, config.num_resamples, config.seed)
    return MetricResult(
        lower_is_better=lower_is_better(metric), mean=float(values.mean()), low=low, high=high, num=len(values)
    )
