"""One metric of any kind over some pictures: alone, against HQ, as a part of a set, or degraded again against LQ."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from storage.errors import InputError
from tasks.images.pictures import decoded
from tasks.metrics import iqa
from tasks.metrics.consistency import measure_consistency
from tasks.metrics.iqa_reference import inception_features, measure_pairs

FID = "fid"
CONSISTENCY = "consistency"


def needed_by(metric: str) -> str | None:
    """The column of a benchmark that the metric cannot do without, `hq` or `recipe`; None for none.

    Raises:
        ValueError: no such metric, or one that is not offered; the message says why.
    """
    if metric == CONSISTENCY:
        return "recipe"
    return None if iqa.mode_of(metric) == "NR" else "hq"


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value means a better picture; loads nothing."""
    return metric != CONSISTENCY and iqa.lower_is_better(metric)


def measure_metric(
    metric: str,
    pictures: list[np.ndarray],
    rows: Sequence[dict[str, Any]],
    device: str,
    batch_size: int,
    weights: dict[str, str] | None = None,
) -> list[Any]:
    """The metric's value of each picture, NaN where it has none, as for one even colour; of FID the (2048,) features.

    Args:
        metric: its name.
        pictures: (H, W, 3) uint8 BGR, all of one size.
        rows: as many of the benchmark, with `crop_id`, `lq`, and what the metric needs of `hq` and `recipe`.
        device: cpu, cuda or mps.
        batch_size: pictures per pass through a network.
        weights: the hashes under which the values will stand, if any.

    Raises:
        ValueError: the metric's weights are not those any more.
    """
    if not pictures:
        return []
    if metric == CONSISTENCY:
        return measure_consistency(pictures, [decoded(row, "lq") for row in rows], [row["recipe"] for row in rows])
    if weights is not None:
        iqa.confirm_weights(metric, device, weights)
    if metric == FID:
        return list(inception_features(pictures, device, batch_size))
    if needed_by(metric) is None:
        return iqa.measure(metric, pictures, device, batch_size)
    if "hq" not in rows[0]:
        raise InputError(f"metric {metric} needs references, and the benchmark has none")
    return measure_pairs(metric, pictures, [decoded(row, "hq") for row in rows], device, batch_size)
