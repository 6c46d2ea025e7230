"""What other limits would yield, from scores already made: nothing is scored, cut or read again for it.

Every number is what `select` would really keep, near-duplicates taken out.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from storage.errors import InputError
from storage.reviews import Verdict
from storage.scored_crops import ScoredShard
from tasks.select.crop_table import read_metadata
from tasks.select.verdicts import (
    CropTable,
    DuplicateLinks,
    SelectConfig,
    better_in_group,
    in_top_share,
    scores,
    within_limit,
)

STEPS = 10
"""Shares of 10 % to 100 %, limits at the deciles."""
TOP_SHARE = "top_share"


@dataclass(frozen=True)
class Yield:
    """What one setting would give, in crops per source."""

    setting: str  # TOP_SHARE or a metric
    value: float  # the share, or the limit
    alone: dict[str, int]  # no other limit, no other share
    combined: dict[str, int]  # everything else as configured


@dataclass(frozen=True)
class Proposal:
    """Limits for a wanted number of crops, each at the same quantile of its metric, the top share as configured."""

    wanted: int
    reached: int  # exactly what the limits give as they stand here
    reached_per_source: dict[str, int]
    quantile: float  # share of all scored crops that each limit alone turns away, about
    limits: dict[str, float]


@dataclass(frozen=True)
class Calibration:
    """What is to be known before limits are set."""

    num_crops: dict[str, int]  # per source, scored by every metric
    configured: dict[str, int]  # what the present configuration keeps
    yields: tuple[Yield, ...]
    proposal: Proposal | None


def calibrate(
    scored_shards: Sequence[ScoredShard],
    lower_is_better: Mapping[str, bool],
    config: SelectConfig,
    wanted: int | None = None,
    reviews: Mapping[str, Verdict] | None = None,
) -> Calibration:
    """What each share and each limit would keep, per source, and the limits for a wanted number of crops.

    Args:
        scored_shards: as for `select`.
        lower_is_better: metric → direction.
        config: the present limits, with which the others are combined.
        wanted: how many crops there should be; None proposes nothing.
        reviews: as for `select`.

    Raises:
        ValueError: `wanted` is not positive, or a shard lacks a metric.
    """
    if wanted is not None and wanted < 1:
        raise InputError(f"{wanted} crops are wanted: ask for at least 1")
    metadata = read_metadata(scored_shards, reviews or {}, with_licences=config.allowed_licences is not None)
    trial = _Trial(metadata.crops, metadata.table["source"].to_numpy(), lower_is_better, config)
    everything = SelectConfig(top_share=1.0, allowed_licences=config.allowed_licences)
    settings: list[tuple[str, float]] = [(TOP_SHARE, (step + 1) / STEPS) for step in range(STEPS)]
    for metric in sorted(trial.crops.values):
        settings += [(metric, trial.limit_at(metric, step / STEPS)) for step in range(STEPS)]
    return Calibration(
        num_crops=trial.per_source(trial.crops.scored),
        configured=trial.per_source(trial.kept(config)),
        yields=tuple(
            Yield(
                name,
                value,
                alone=trial.per_source(trial.kept(_with(everything, name, value))),
                combined=trial.per_source(trial.kept(_with(config, name, value))),
            )
            for name, value in settings
        ),
        proposal=None if wanted is None else _proposal(trial, config, wanted),
    )


def _with(config: SelectConfig, setting: str, value: float) -> SelectConfig:
    update = {TOP_SHARE: value} if setting == TOP_SHARE else {"limits": {**config.limits, setting: value}}
    return config.model_copy(update=update)


class _Trial:
    """Tries limits on the same crops; what they have in common is computed once."""

    def __init__(
        self, crops: CropTable, source: np.ndarray, lower_is_better: Mapping[str, bool], config: SelectConfig
    ) -> None:
        self.crops = crops
        self.lower_is_better = lower_is_better
        self._source = source
        self._names = np.unique(source).tolist()
        self._score = scores(crops, lower_is_better)
        self._allowed = (
            crops.scored & ~crops.reviewed("drop") & crops.licensed(config.allowed_licences)
        )  # whatever the limits are
        self._links = DuplicateLinks.of(crops, config, among=crops.scored)
        # From the worst to the best value of every metric.
        self._sorted = {
            name: np.sort(values[crops.scored])[:: -1 if lower_is_better[name] else 1]
            for name, values in crops.values.items()
        }

    @property
    def num_scored(self) -> int:
        return int(np.count_nonzero(self.crops.scored))

    def limit_at(self, metric: str, quantile: float) -> float:
        """The limit that turns away about the share `quantile` of all scored crops, in 6 significant digits."""
        ordered = self._sorted[metric]
        if not len(ordered):
            return 0.0
        exact = float(ordered[min(int(quantile * len(ordered)), len(ordered) - 1)])
        return _rounded(exact, up=self.lower_is_better[metric])

    def kept(self, config: SelectConfig) -> np.ndarray:
        """(N,) bool: what `select` keeps with the limits and the share of `config`."""
        passing = in_top_share(self._score, config.top_share)
        for metric, worst in config.limits.items():
            passing &= within_limit(self.crops.values[metric], worst, self.lower_is_better[metric])
        passing = (passing | self.crops.reviewed("keep")) & self._allowed
        return passing & (better_in_group(self._score, self._links.groups(passing), passing) < 0)

    def per_source(self, crops: np.ndarray) -> dict[str, int]:
        """Number of crops per source."""
        return {name: int(np.count_nonzero(crops & (self._source == name))) for name in self._names}


def _rounded(limit: float, up: bool) -> float:
    """`limit` in 6 significant digits, on the side where the crop that it was taken from still passes."""
    if limit == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(limit))) - 5)
    return float(f"{(math.ceil if up else math.floor)(limit / unit) * unit:.6g}")


def _proposal(trial: _Trial, config: SelectConfig, wanted: int) -> Proposal:
    """Bisection over the quantile: the strictest limits that still give `wanted` crops, or else no limits."""
    num = max(trial.num_scored, 1)

    def at(rank: int) -> SelectConfig:
        limits = {metric: trial.limit_at(metric, rank / num) for metric in sorted(trial.crops.values)}
        return config.model_copy(update={"limits": limits})

    def enough(rank: int) -> bool:
        return int(np.count_nonzero(trial.kept(at(rank)))) >= wanted

    rank = _last(enough, num)
    kept = trial.kept(at(rank))
    return Proposal(wanted, int(np.count_nonzero(kept)), trial.per_source(kept), rank / num, at(rank).limits)


def _last(holds: Callable[[int], bool], stop: int) -> int:
    """The last number below `stop` for which `holds`, if it holds up to some number and not after; 0 if never."""
    low, high = 0, stop
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def calibration_rows(calibration: Calibration) -> list[list[str]]:
    """The calibration as lines of a table, the heading first; cells are `alone / combined`."""
    sources = list(calibration.num_crops)

    def cells(alone: dict[str, int], combined: dict[str, int]) -> list[str]:
        both = [(alone[s], combined[s]) for s in sources] + [(sum(alone.values()), sum(combined.values()))]
        return [f"{a:,} / {b:,}" for a, b in both]

    rows = [["setting", "value", *sources, "all"]]
    rows.append(["as configured", "", *cells(calibration.num_crops, calibration.configured)])
    for found in calibration.yields:
        value = f"{found.value:.0%}" if found.setting == TOP_SHARE else f"{found.value:.6g}"
        rows.append([found.setting, value, *cells(found.alone, found.combined)])
    return rows


def proposal_lines(proposal: Proposal, config: SelectConfig) -> list[str]:
    """The proposal in sentences, with the lines that go into the configuration."""
    per_source = ", ".join(f"{source} {num:,}" for source, num in proposal.reached_per_source.items())
    lines = [
        f"{proposal.wanted:,} crops wanted: these limits and top_share {config.top_share:.4g} give exactly "
        f"{proposal.reached:,} ({per_source}).",
        "select:",
        "  limits:",
        *(f"    {metric}: {limit:.6g}" for metric, limit in proposal.limits.items()),
    ]
    if proposal.reached < proposal.wanted:
        lines.append(f"More are not within the top share of {config.top_share:.4g}: raise select.top_share.")
    return lines
