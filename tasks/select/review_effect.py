"""What reviews changed: verdicts that people turned over, and the limits that would have agreed with them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from storage.shard import Row, Shard

SCORE = "score"
"""Stands for eq. 1 of the paper among the metrics; its limit is the lowest score within the top share."""


@dataclass(frozen=True)
class AgreeingLimit:
    """How well a limit on one metric alone repeats what people said."""

    metric: str
    lower_is_better: bool
    num_reviewed: int  # crops with a value, on which people said keep or drop
    limit: float | None  # as configured; inclusive
    num_agreeing: int | None  # of them: keep and within the limit, or drop and beyond it
    best_limit: float | None  # agrees with most; None: no limit at all agrees with most
    num_agreeing_best: int


@dataclass(frozen=True)
class ReviewEffect:
    """What people said of the crops of one dataset, and what came of it."""

    num_keep: int
    num_drop: int
    num_kept_by_people: int  # turned away by a limit, chosen since people said keep
    num_dropped_by_people: int  # chosen by the pipeline, left out since people said drop
    num_keep_not_obeyed: int  # people said keep, but licence, near-duplicate or a missing score stand above that
    limits: tuple[AgreeingLimit, ...]

    @property
    def num_changed(self) -> int:
        """Verdicts of the pipeline that people turned over."""
        return self.num_kept_by_people + self.num_dropped_by_people

    def counts(self) -> dict[str, int]:
        """What the manifest of a snapshot says."""
        return {
            "reviewed": self.num_keep + self.num_drop,
            "changed": self.num_changed,
            "kept_by_people": self.num_kept_by_people,
            "dropped_by_people": self.num_dropped_by_people,
        }


def review_effect(selection: Sequence[Shard]) -> ReviewEffect | None:
    """What people changed in a selection; None where they looked at none of its crops.

    Args:
        selection: the shards that `select` returned.
    """
    reviewed = [shard.read("reviewed") for shard in selection if "reviewed" in shard.manifest().tables]
    rows = pa.concat_tables(reviewed).to_pylist() if reviewed else []
    if not rows:
        return None
    keep = np.array([row["review"] == "keep" for row in rows])
    chosen = np.array([row["verdict"] == "kept" for row in rows])
    by_itself = np.array([row["own_verdict"] == "kept" for row in rows])
    return ReviewEffect(
        num_keep=int(keep.sum()),
        num_drop=int((~keep).sum()),
        num_kept_by_people=int((keep & chosen & ~by_itself).sum()),
        num_dropped_by_people=int((~keep & by_itself).sum()),
        num_keep_not_obeyed=int((keep & ~chosen).sum()),
        limits=tuple(_agreeing_limit(rows, keep, about) for about in selection[0].read("statistics").to_pylist()),
    )


def _agreeing_limit(rows: Sequence[Row], keep: np.ndarray, about: Row) -> AgreeingLimit:
    metric, lower = about["metric"], about["lower_is_better"]
    values = np.array([_value(row, metric) for row in rows])
    there = ~np.isnan(values)
    sign = -1.0 if lower else 1.0
    best, num_best = best_limit(
        sign * values[there], keep[there], None if about["limit"] is None else sign * about["limit"]
    )
    configured = None if about["limit"] is None else agreeing(sign * values[there], keep[there], sign * about["limit"])
    return AgreeingLimit(
        metric, lower, int(there.sum()), about["limit"], configured, None if best is None else sign * best, num_best
    )


def _value(row: Row, metric: str) -> float:
    value = row["score"] if metric == SCORE else {v["metric"]: v["value"] for v in row["values"]}.get(metric)
    return math.nan if value is None else value


def agreeing(values: np.ndarray, keep: np.ndarray, limit: float) -> int:
    """How many of N crops a lower limit, inclusive, judges as people did: `keep` is (N,) bool."""
    return int(((values >= limit) == keep).sum())


def best_limit(values: np.ndarray, keep: np.ndarray, near: float | None) -> tuple[float | None, int]:
    """The lower limit that agrees with most of N verdicts, and with how many; None means no limit.

    Of several that agree with as many, the one closest to `near`, or else the loosest. Tried are the values of the
    kept crops themselves: between two of them nothing gets better. A limit that lets nothing pass is not looked for.
    """
    tried: list[tuple[float | None, int]] = [(None, int(keep.sum()))]
    tried += [(float(v), agreeing(values, keep, float(v))) for v in np.unique(values[keep])]
    most = max(num for _, num in tried)
    best = [limit for limit, num in tried if num == most]
    if near is None or None in best:
        return best[0], most
    return min((limit for limit in best if limit is not None), key=lambda limit: abs(limit - near)), most
