"""Whether a new model replaces the one in production: a decision from numbers alone, each of which it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, NonNegativeFloat, model_validator

from storage.evaluation import MIN_VALUES, Difference, Evaluation
from storage.frozen import Frozen

BenchmarkRole = Literal["val", "test"]

LQ = "lq"
"""Stands for the LQ pictures themselves, the opponent of a model that has no predecessor."""


class Primary(Frozen):
    """The metric that has to improve, by more than its 95 % interval."""

    metric: str = "dists"
    """As pyiqa names it."""
    benchmark: BenchmarkRole = "val"
    """Where it is looked at."""


class Guard(Frozen):
    """A metric that must not fall."""

    metric: str
    """As pyiqa names it."""
    benchmark: BenchmarkRole = "val"
    """Where it is looked at."""
    tolerance: NonNegativeFloat
    """How much worse its mean may be, in the metric's own unit."""


class PromotionConfig(Frozen):
    """What a candidate must show."""

    primary: Primary = Primary()
    guards: tuple[Guard, ...] = (Guard(metric="lpips", tolerance=0.01), Guard(metric="psnr", tolerance=0.3))
    """Metrics that must not fall."""
    first_model: Literal["beats_lq", "always"] = Field(default="beats_lq")
    """What a model without a predecessor must show: the same against the LQ pictures themselves, or nothing."""

    @model_validator(mode="after")
    def _has_intervals(self) -> "PromotionConfig":
        if self.primary.metric == "fid":
            raise ValueError("primary.metric is 'fid', which has no interval of single images: use it as a guard")
        return self


@dataclass(frozen=True)
class Judged:
    """Candidate and opponent on one benchmark."""

    candidate: Evaluation
    against: Evaluation
    differences: Mapping[str, Difference]  # candidate minus opponent, by metric


class Check(Frozen):
    """One condition, with every number that it was decided from."""

    role: Literal["primary", "guard"]
    benchmark: BenchmarkRole
    metric: str
    candidate: float | None
    """The candidate's mean."""
    against: float | None
    """The opponent's mean."""
    improvement: float | None
    """By how much the candidate is better, paired by image; negative where it is worse."""
    low: float | None
    """Lower end of the improvement's 95 % interval; None where a metric has none."""
    high: float | None
    """Upper end."""
    needed: float
    """What `low` must exceed for the primary metric, what `improvement` must reach for a guard."""
    passed: bool
    reason: str
    """In one sentence."""


class Decision(Frozen):
    """Promoted or not, and why."""

    promoted: bool
    reason: str
    """In one sentence."""
    checks: tuple[Check, ...]


def decide(config: PromotionConfig, judged: Mapping[BenchmarkRole, Judged], is_first: bool) -> Decision:
    """Promote only what improves the primary metric beyond doubt and harms no guarded one beyond its tolerance.

    What cannot be computed counts as not shown: the candidate stays a candidate. So does what fewer than MIN_VALUES
    pictures say.

    Args:
        config: the conditions.
        judged: candidate and opponent by benchmark; the opponent of a first model is LQ.
        is_first: there is no model in production.
    """
    primary = _check_primary(config.primary, judged)
    guards = [_check_guard(guard, judged) for guard in config.guards]
    checks = (primary, *guards, *(_check_failures(role, pair) for role, pair in judged.items()))
    failed = [check for check in checks if not check.passed]
    if is_first and config.first_model == "always":
        return Decision(promoted=True, reason="it is the first model, and first_model is always", checks=checks)
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return Decision(promoted=False, reason=failed[0].reason + more, checks=checks)
    return Decision(promoted=True, reason=primary.reason, checks=checks)


def _check_primary(primary: Primary, judged: Mapping[BenchmarkRole, Judged]) -> Check:
    numbers = _numbers(primary.metric, judged.get(primary.benchmark))
    if numbers.improvement is None or numbers.low is None:
        return numbers.check(primary, "primary", 0.0, False, f"cannot be judged: {numbers.why_not}")
    if numbers.low > 0:
        text = f"improves by {numbers.improvement:.4g}, 95 % interval {numbers.low:.4g} to {numbers.high:.4g}"
        return numbers.check(primary, "primary", 0.0, True, text)
    text = (
        f"does not improve beyond its 95 % interval: {numbers.improvement:.4g}, {numbers.low:.4g} to {numbers.high:.4g}"
    )
    return numbers.check(primary, "primary", 0.0, False, text)


def _check_guard(guard: Guard, judged: Mapping[BenchmarkRole, Judged]) -> Check:
    numbers = _numbers(guard.metric, judged.get(guard.benchmark))
    if numbers.improvement is None:
        return numbers.check(guard, "guard", -guard.tolerance, False, f"cannot be judged: {numbers.why_not}")
    passed = numbers.improvement >= -guard.tolerance
    if passed and numbers.improvement >= 0:
        text = f"does not fall: better by {numbers.improvement:.4g}"
    else:
        text = (
            f"falls by {-numbers.improvement:.4g}, {'within' if passed else 'beyond'} its tolerance {guard.tolerance:g}"
        )
    return numbers.check(guard, "guard", -guard.tolerance, passed, text)


def _check_failures(role: BenchmarkRole, pair: Judged) -> Check:
    """Means are of the pictures that have a value, so a model must not get better by losing some."""
    candidate, against = pair.candidate.num_failed, pair.against.num_failed
    numbers = _Numbers(candidate, against, against - candidate)
    text = f"number {candidate:,} of {pair.candidate.num_images:,}, with the opponent {against:,}"
    return numbers.check(
        Guard(metric="failed pictures", benchmark=role, tolerance=0), "guard", 0, candidate <= against, text
    )


@dataclass(frozen=True)
class _Numbers:
    candidate: float | None = None
    against: float | None = None
    improvement: float | None = None
    low: float | None = None
    high: float | None = None
    why_not: str = ""

    def check(
        self, asked: Primary | Guard, role: Literal["primary", "guard"], needed: float, passed: bool, text: str
    ) -> Check:
        return Check(
            role=role,
            benchmark=asked.benchmark,
            metric=asked.metric,
            candidate=self.candidate,
            against=self.against,
            improvement=self.improvement,
            low=self.low,
            high=self.high,
            needed=needed,
            passed=passed,
            reason=f"{asked.metric} on {asked.benchmark} {text}",
        )


def _numbers(metric: str, judged: Judged | None) -> _Numbers:
    """Differences turned so that positive is better, whichever way the metric points."""
    if judged is None:
        return _Numbers(why_not="that benchmark is not configured")
    for evaluation in (judged.candidate, judged.against):
        result = evaluation.metrics.get(metric)
        if result is None:
            return _Numbers(why_not="the metric is not computed on it")
        if result.mean is None:
            return _Numbers(why_not=result.unavailable or "no image has a value")
    candidate, against = judged.candidate.metrics[metric].mean, judged.against.metrics[metric].mean
    difference = judged.differences.get(metric)
    if difference is None or difference.mean is None:
        return _Numbers(candidate, against, why_not="no image has a value of both")
    if difference.num < MIN_VALUES:
        few = f"{difference.num:,} pictures have a value of both, and fewer than {MIN_VALUES} decide nothing"
        return _Numbers(candidate, against, why_not=few)
    low, high = difference.low, difference.high
    if difference.lower_is_better:
        low, high = (None if high is None else -high), (None if low is None else -low)
        return _Numbers(candidate, against, -difference.mean, low, high)
    return _Numbers(candidate, against, difference.mean, low, high)
