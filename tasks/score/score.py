"""Judge the crops of one shard by quality metrics (HQ-ACF, step 5): every metric writes a shard of its own.

So a metric that is added later is the only one that is computed.
"""

from contextlib import ExitStack
from importlib.metadata import version
from math import isfinite
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field, field_validator

from model.network.weights import Compute, resolve_device, use_threads
from storage.digest import digest
from storage.errors import InputError
from storage.frozen import Frozen
from storage.reasons import Reason
from storage.rejection import Rejection
from storage.report import StageReport, Tally
from storage.schema import REJECTS, SCORES
from storage.shard import Row, Shard, ShardWriter
from tasks.metrics.iqa import checked_name, measure, weights_of

VERSION = 1
"""Part of every score shard's key; raised whenever the same input would give another output."""

_COLUMNS = ["image", "crop_id", "photo_id", "box_id", "photo_path"]


class ScoreConfig(Frozen):
    """Which metrics judge the crops."""

    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = ("clipiqa", "maniqa-pipal", "musiq", "niqe")
    """pyiqa's no-reference metrics, by default the paper's four. What the paper calls MANIQA is maniqa-pipal; plain
    maniqa is another network, trained on KonIQ."""

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for name in metrics:
            checked_name(name)
        if len(set(metrics)) < len(metrics):
            raise ValueError("a metric is named twice")
        return metrics


def score_key(crops: Shard, metric: str, weights: dict[str, str]) -> str:
    """Key of the score shard that belongs to a shard of crops: everything that decides its content.

    Args:
        crops: a finished crop shard.
        metric: name of the metric.
        weights: what `check_metric` returned for it.
    """
    return digest("score", VERSION, crops.digest_of("crops"), metric, weights, version("pyiqa"))


def score_shard(crops: Shard, outs: dict[str, Shard], compute: Compute) -> list[StageReport]:
    """Write the scores of one shard of crops; each crop is decoded once for all metrics.

    Args:
        crops: a finished crop shard.
        outs: metric → the shard that is to be written, named by `score_key`; only the missing ones.
        compute: how the metrics are run; those that look at many pieces of each crop take fewer crops per pass.

    Returns:
        One report per metric.

    Raises:
        ValueError: weights were exchanged since the shards were named after them.
    """
    device = resolve_device(compute.device)
    use_threads(compute.num_threads)
    for metric, out in outs.items():
        if out.key != score_key(crops, metric, weights_of(metric, device)):
            raise InputError(f"weights of metric {metric} were exchanged while this run was at work: run it again")
    tallies = {metric: Tally(out.stage, out.source, ("crop",)) for metric, out in outs.items()}
    with ExitStack() as files:
        writers = {m: files.enter_context(ShardWriter(out, scores=SCORES, rejects=REJECTS)) for m, out in outs.items()}
        for batch in crops.batches("crops", _COLUMNS):
            rows = batch.to_pylist()
            pictures = [_decoded(row, crops) for row in rows]
            for metric, out in outs.items():
                values = measure(metric, pictures, device, compute.batch_size)
                _write(rows, values, metric, out, writers[metric], tallies[metric])
        return [writers[metric].commit(tally.report()) for metric, tally in tallies.items()]


def _decoded(row: Row, crops: Shard) -> np.ndarray:
    """The crop as (H, W, 3) uint8 BGR."""
    picture = cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"crop {row['crop_id']} in {crops.name} is not an image: the shard is damaged, delete it")
    return picture


def _write(rows: list[Row], values: list[float], metric: str, out: Shard, writer: ShardWriter, tally: Tally) -> None:
    for row, value in zip(rows, values, strict=True):
        tally.enter("crop")
        if isfinite(value):
            tally.keep("crop")
            writer["scores"].append({"crop_id": row["crop_id"], "metric": metric, "value": value})
            continue
        tally.lose("crop", Reason.SCORE_NOT_FINITE)
        why = Rejection(Reason.SCORE_NOT_FINITE, detail=f"{metric} of crop {row['crop_id']} is {value}")
        photo = {"photo_id": row["photo_id"], "path": row["photo_path"]}
        box = {"box_id": row["box_id"], "bbox_xyxy_px": None}
        writer["rejects"].append(why.row(out.stage, out.source, "crop", photo, box))
