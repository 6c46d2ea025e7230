"""Judge restored pictures on a benchmark with the paper's metrics: one pass over the pictures, all values kept."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import chain
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, PositiveInt, field_validator

from model.network.weights import Device, Precision, WeightsUnavailableError, resolve_device, resolve_precision
from storage.benchmark import OnProgress, has_hq, schema_of, splits_of
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
from storage.parquet import Row
from storage.sealed import write_record
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.crop.crop import encode_png
from tasks.evaluate.candidates import Contender
from tasks.evaluate.examples import best_and_worst
from tasks.evaluate.judge import Judge
from tasks.evaluate.parts import Part, parts_of
from tasks.metrics.bootstrap import interval_of
from tasks.metrics.iqa import weights_files
from tasks.metrics.iqa_reference import FrechetSums, frechet_distance
from tasks.metrics.suite import CONSISTENCY, FID, lower_is_better, needed_by

VERSION = 3
"""Part of every evaluation's id; raised whenever the same input would give another output."""

PER_IMAGE = "per_image.parquet"
EXAMPLES_FILE = "examples.parquet"

NOTES = {
    "lpips": "LPIPS version 0.1 with AlexNet",
    "psnr": "on Y of YCbCr, nothing cut off at the border",
    "ssim": "on Y of YCbCr, nothing cut off at the border",
    "psnr_rgb": "over R, G and B",
    "ssim_rgb": "mean of R, G and B",
    "topiq_nr": "TOPIQ without a reference, trained on KonIQ-10k",
    "topiq_fr": "TOPIQ against HQ, trained on KADID-10k",
    "liqe": "LIQE trained on KonIQ-10k, 1 to 5",
    "hyperiqa": "HyperIQA trained on KonIQ-10k, mean of 25 random patches of a fixed draw",
    "tres": "TReS trained on KonIQ-10k, mean of 50 random patches of a fixed draw",
    CONSISTENCY: "PSNR in dB of LQ against the restored picture degraded again by the crop's recipe; HQ has 80",
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
        CONSISTENCY,
    )
    """By pyiqa's names, with psnr_rgb, ssim_rgb and consistency; by default the paper's nine and the last. Where a
    benchmark has no HQ pictures or no recipes, what needs them is left out."""
    batch_size: Annotated[PositiveInt, HOW] = 8
    """Pictures per pass through a network."""
    device: Annotated[Device, HOW] = "auto"
    """Where networks run; auto takes a GPU if there is one."""
    precision: Annotated[Precision, HOW] = "auto"
    """In which a model restores; what auto is, depends on the device."""
    num_resamples: PositiveInt = 2000
    """Draws of the bootstrap."""
    seed: int = 0
    """Of the bootstrap's draws."""

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for name in metrics:
            needed_by(name)
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
    """Judge a contender; what was judged before is only read, also of an evaluation that was killed.

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
    name = named(benchmark)
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device) if contender.kind == "model" else None
    metrics = [metric for metric in config.metrics if needed_by(metric) in (None, *_columns(benchmark))]
    weights, unavailable = _loadable(benchmark.store, metrics, strict)
    judge = Judge(benchmark, contender, weights, device, precision, config.batch_size)
    asked = {**config.content(), "metrics": metrics}
    about = (name, judge.folder, contender.remarks, asked, weights, version("pyiqa"))
    store, folder = benchmark.store, f"{FOLDER}/{contender.label}-{digest('evaluate', VERSION, *about)}"
    if store.exists(f"{folder}/{FILE}"):
        return load_evaluation(store, folder)

    parts = parts_of(benchmark)
    for part in parts:
        judge.judge(part)
        if on_progress:
            on_progress(part.num_rows)
    table = _per_image(judge, parts)
    failures = table["failure"].drop_null()
    if len(failures) == table.num_rows:
        why = failures[0] if len(failures) else "the benchmark is empty"
        raise InputError(f"no picture of {contender.label} can be judged: {why}")
    primary = next((metric for metric in _PRIMARY if metric in table.column_names), None)
    with store.new_file(f"{folder}/{PER_IMAGE}") as aside:
        pq.write_table(table, aside)
    with store.new_file(f"{folder}/{EXAMPLES_FILE}") as aside:
        examples = list(_examples(judge, parts, table, primary))
        pq.write_table(pa.Table.from_pylist(examples, EXAMPLES), aside, compression="none")
    evaluation = Evaluation(
        id=folder.split("/")[1],
        label=contender.label,
        kind=contender.kind,
        benchmark=name,
        metrics={metric: _result(metric, judge, parts, table, unavailable, config) for metric in metrics},
        primary=primary,
        num_images=table.num_rows,
        num_failed=len(failures),
        remarks=contender.remarks,
        device=device,
        precision=precision,
        weights=weights,
        notes={metric: NOTES[metric] for metric in metrics if metric in NOTES},
        code_version=code_version(),
    )
    write_record(store, f"{folder}/{FILE}", evaluation.model_dump(mode="json"))
    return evaluation


def named(benchmark: Snapshot) -> BenchmarkName:
    """Which benchmark it is, exactly."""
    manifest = benchmark.manifest()
    hq = has_hq(manifest)
    return BenchmarkName(id=benchmark.id, digest=manifest.digest, has_hq=hq, published=manifest.published)


def _columns(benchmark: Snapshot) -> list[str]:
    paths = chain.from_iterable(splits_of(benchmark).values())
    return schema_of(benchmark, next(paths)).names


def _loadable(store: Store, metrics: Sequence[str], strict: bool) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Metric → hashes of its weights, and metric → why they cannot be had; known before any picture is read.

    What was loaded once below this root is not loaded again to learn its hashes.
    """
    known = remembered(store)
    found, unavailable = {}, {}
    for metric in (metric for metric in metrics if metric not in known and metric != CONSISTENCY):
        try:
            found[metric] = weights_files(metric)
        except WeightsUnavailableError as error:
            if strict:
                raise
            unavailable[metric] = str(error)
    if found:
        remember(store, found)
    files = known | found | {CONSISTENCY: ()}
    return {metric: hashes_of(files[metric]) for metric in metrics if metric not in unavailable}, unavailable


def _per_image(judge: Judge, parts: Sequence[Part]) -> pa.Table:
    """Every value of every picture, some 100 bytes each: null where a metric has none."""
    rows = [row for part in parts for row in part.read("crop_id", "source")]
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in ("crop_id", "source")}
    for name in ("failure", *(metric for metric in judge.weights if metric != FID)):
        columns[name] = pa.concat_arrays([c for part in parts for c in judge.values(name, part).chunks])
    return pa.table(columns)


def _examples(judge: Judge, parts: Sequence[Part], table: pa.Table, primary: str | None) -> Iterator[Row]:
    """Rows of EXAMPLES, read or restored again one part after the other."""
    if primary is None:
        return
    values = table[primary].to_pylist()
    chosen = list(best_and_worst(table["crop_id"].to_pylist(), values, lower_is_better(primary)))
    found: dict[int, Row] = {}
    start = 0
    for part in parts:
        wanted = [example.at for example in chosen if start <= example.at < start + part.num_rows]
        if wanted:
            rows = part.read("crop_id", "lq", "hq", "recipe")
            pictures = judge.pictures(part, rows)
            found |= {i: _pictures(rows[i - start], pictures[i - start]) for i in wanted}
        start += part.num_rows
    for side, rank, index in chosen:
        yield {"side": side, "rank": rank, "value": values[index], **found[index]}


def _pictures(row: Row, restored: np.ndarray | str) -> Row:
    assert not isinstance(restored, str)  # it has a value
    png = {"bytes": encode_png(restored), "path": f"{row['crop_id']}.png"}
    return {"crop_id": row["crop_id"], "lq": row["lq"], "restored": png, "hq": row.get("hq")}


def _result(
    metric: str,
    judge: Judge,
    parts: Sequence[Part],
    table: pa.Table,
    unavailable: dict[str, str],
    config: EvaluateConfig,
) -> MetricResult:
    def none(why: str) -> MetricResult:
        return MetricResult(lower_is_better=lower_is_better(metric), unavailable=why)

    if metric in unavailable:
        return none(unavailable[metric])
    if metric == FID:
        return _fid(judge, parts) or none(f"{metric} needs two pictures at least")
    values = table[metric].drop_null().to_numpy()
    if not len(values):
        return none(f"{metric} has a finite value for no picture")
    low, high = interval_of(values, config.num_resamples, config.seed)
    return MetricResult(
        lower_is_better=lower_is_better(metric), mean=float(values.mean()), low=low, high=high, num=len(values)
    )


def _fid(judge: Judge, parts: Sequence[Part]) -> MetricResult | None:
    restored, hq = FrechetSums(), FrechetSums()
    for part in parts:
        features = judge.values(FID, part).drop_null().to_numpy()
        if len(features):
            restored.add(np.stack(features))
        hq.add(judge.hq_features(part))
    if restored.num < 2:
        return None
    return MetricResult(lower_is_better=True, mean=frechet_distance(restored, hq), num=restored.num)
