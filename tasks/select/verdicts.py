"""Which crops become the dataset: the paper's score (eq. 1), its top share, a limit per metric, no near-duplicates.

Everything is decided from numbers; no picture is opened and no file is read. The choice depends on the set of crops
alone: all sums run in the order of crop ids, so neither the order of rows nor the size of shards nor the number of
workers changes a bit.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeInt

from storage.errors import InputError
from storage.frozen import Frozen
from storage.reasons import Reason
from tasks.select.near_duplicates import MAX_LIMIT_BITS, HashedPictures, hamming, same_person_pairs

Bits = Annotated[int, Field(ge=0, le=MAX_LIMIT_BITS)]


class SelectConfig(Frozen):
    """Which of the scored crops are chosen; changing it opens no picture and takes seconds."""

    top_share: float = Field(default=1 / 3, gt=0, le=1)
    """Share of all scored crops that is within reach, by the mean of the standardised metrics; the paper's third."""
    limits: dict[str, float] = {}
    """Per metric the worst value that is still good enough: the lowest, or the highest where lower is better."""
    near_duplicate_photo_bits: Bits = 6
    """Photos whose 64-bit perceptual hashes differ in at most so many bits count as one photo."""
    near_duplicate_crop_bits: Bits = 6
    """Crops whose 64-bit perceptual hashes differ in at most so many bits show the same; the best one stays."""
    val_size: NonNegativeInt = 0
    """How many of the chosen crops are set aside for validation, photo by photo; the paper's are 4,216."""
    max_val_share: float = Field(default=0.5, gt=0, le=1, exclude_if=lambda share: share == 0.5)
    """At most this share of the chosen crops, however large `val_size` is: what is left is for training."""
    seed: int = 0
    """Another number sets other photos aside for validation."""
    # Left out where it says nothing, so that datasets made before it keep their names.
    allowed_licences: tuple[str, ...] | None = Field(default=None, exclude_if=lambda licences: licences is None)
    """Names or addresses of the licences that a crop's photo may have; empty = any, also none."""


@dataclass(frozen=True)
class CropTable:
    """What is known of N crops, in ascending order of their ids."""

    crop_id: np.ndarray  # (N,) str
    photo: np.ndarray  # (N,) a number per photo; equal for crops of one photo
    photo_phash: np.ndarray  # (N,) uint64
    crop_phash: np.ndarray  # (N,) uint64
    square: np.ndarray  # (N, 4) x_min, y_min, x_max, y_max as shares of the photo's width and height
    values: dict[str, np.ndarray]  # metric → (N,) float64, NaN where there is none
    licence: np.ndarray | None = None  # (N, 2) str: name and address, "" for none; None where nobody asks
    review: np.ndarray | None = None  # (N,) keep, drop or None: what people said; None where nobody looked

    def reviewed(self, verdict: str) -> np.ndarray:
        """(N,) bool: people said so."""
        return np.zeros(len(self.crop_id), bool) if self.review is None else self.review == verdict

    def licensed(self, allowed: tuple[str, ...] | None) -> np.ndarray:
        """(N,) bool: the name or the address of the photo's licence is an allowed one."""
        if allowed is None:
            return np.ones(len(self.crop_id), bool)
        assert self.licence is not None
        return np.array([name in allowed or address in allowed for name, address in self.licence], bool)

    @property
    def scored(self) -> np.ndarray:
        """(N,) bool: every metric has a value."""
        return ~np.any([np.isnan(v) for v in self.values.values()], axis=0)


@dataclass(frozen=True)
class Choice:
    """The verdict on N crops; crops are named by their index, -1 is nobody."""

    kept: np.ndarray  # (N,) bool
    score: np.ndarray  # (N,) eq. 1; NaN where a metric is missing
    reason: np.ndarray  # (N,) Reason, or None for a chosen crop
    metric: np.ndarray  # (N,) str or None: which value it is
    value: np.ndarray  # (N,) what was measured; NaN for a chosen crop
    limit: np.ndarray  # (N,) what it was held against; NaN for a chosen crop
    better: np.ndarray  # (N,) the crop that stays instead of a near-duplicate, else -1
    duplicate_group: np.ndarray  # (N,) its smallest member
    photo_group: np.ndarray  # (N,) its smallest member
    in_val: np.ndarray  # (N,) bool
    threshold: float  # the lowest score within the top share; NaN if nothing is scored


def choose(crops: CropTable, lower_is_better: Mapping[str, bool], config: SelectConfig) -> Choice:
    """The verdict on every crop. The first of these that applies is its reason.

    1. DROPPED_BY_REVIEW: people said so.
    2. LICENCE_NOT_ALLOWED: the photo's licence is not one of `allowed_licences`.
    3. NOT_SCORED: a metric has no value; such a crop is no part of any statistic.
    4. METRIC_LIMIT: beyond a limit, the first in the order of the configuration.
    5. BELOW_TOP_SHARE: not among the ceil(`top_share` · N) best of the N scored crops; ties go by crop id.
    6. NEAR_DUPLICATE: a better crop of its group stays; ties go by crop id. Two crops are near-duplicates if their own
       hashes are within the limit, or if they show the same person in two copies of a photo (`same_person_pairs`).
       The value is their distance: of the crop hashes, or else of the photo hashes, if within its limit. Where it is
       above the limit the two are linked by others in between.

    A crop that people want to keep is spared 4 and 5, and nothing else. Reviews change no statistic: dropped and kept
    crops count in mean, std and top share as if nobody had looked.

    Whole groups of near-duplicate photos go to validation, in the order of a seeded hash of the group's smallest crop
    id, as long as they fit. Photos are grouped among all crops, so limits do not reshuffle the groups.

    Raises:
        ValueError: a limit names a metric that was not computed.
    """
    _check_metrics(crops.values, lower_is_better, config)
    num = len(crops.crop_id)
    kept = np.ones(num, bool)
    reason, metric = np.full(num, None, object), np.full(num, None, object)
    value, limit = np.full(num, np.nan), np.full(num, np.nan)

    def reject(why: Reason, which: np.ndarray, measured: np.ndarray, held: float, name: str | None) -> None:
        fresh = which & kept
        reason[fresh], metric[fresh], value[fresh], limit[fresh] = why, name, measured[fresh], held
        kept[fresh] = False

    nothing = np.full(num, np.nan)
    reject(Reason.DROPPED_BY_REVIEW, crops.reviewed("drop"), nothing, math.nan, None)
    reject(Reason.LICENCE_NOT_ALLOWED, ~crops.licensed(config.allowed_licences), nothing, math.nan, None)
    for name, values in crops.values.items():
        reject(Reason.NOT_SCORED, np.isnan(values), values, math.nan, name)
    spared = crops.reviewed("keep")
    for name, worst in config.limits.items():
        values = crops.values[name]
        beyond = ~within_limit(values, worst, lower_is_better[name])
        reject(Reason.METRIC_LIMIT, beyond & ~spared, values, worst, name)
    score = scores(crops, lower_is_better)
    top = in_top_share(score, config.top_share)
    threshold = float(score[top].min()) if top.any() else math.nan
    reject(Reason.BELOW_TOP_SHARE, ~top & ~spared, score, threshold, None)

    links = DuplicateLinks.of(crops, config, among=kept)
    duplicate_group = links.groups(kept)
    better = better_in_group(score, duplicate_group, kept)
    worse = np.flatnonzero(better >= 0)
    reason[worse], kept[worse] = Reason.NEAR_DUPLICATE, False
    metric[worse], value[worse], limit[worse] = _distances(crops, worse, better[worse], config)

    photo_group = photo_groups(crops, links.photos)
    in_val = kept & choose_val(crops.crop_id, photo_group, kept, config)
    return Choice(kept, score, reason, metric, value, limit, better, duplicate_group, photo_group, in_val, threshold)


def _check_metrics(values: Mapping[str, object], lower_is_better: Mapping[str, bool], config: SelectConfig) -> None:
    if values.keys() != lower_is_better.keys():
        raise InputError(
            f"scores of {sorted(values)}, but directions of {sorted(lower_is_better)}: name the same metrics"
        )
    if not values:
        raise InputError("no metric was computed: name at least one in score.metrics")
    unknown = sorted(config.limits.keys() - values.keys())
    if unknown:
        raise InputError(f"select.limits names {unknown[0]!r}, which was not computed: add it to score.metrics")


def scores(crops: CropTable, lower_is_better: Mapping[str, bool]) -> np.ndarray:
    """Eq. 1 of the paper: the mean over the metrics of (M - mean) / std, negated where lower is better.

    Mean and population std are those over all scored crops; a metric that is the same everywhere counts 0. NaN where
    a metric is missing.
    """
    total = np.full(len(crops.crop_id), np.nan)
    scored = crops.scored
    if scored.any():
        total[scored] = 0.0
    for name in sorted(crops.values):
        values = crops.values[name][scored]
        mean, std = mean_and_std(values)
        if std > 0:
            total[scored] += (values - mean) / std * (-1 if lower_is_better[name] else 1)
    return total / len(crops.values)


def mean_and_std(values: np.ndarray) -> tuple[float, float]:
    """Mean and population standard deviation; the latter is 0, without a rounding error, if all values are equal."""
    if not len(values):
        return 0.0, 0.0
    if values.min() == values.max():
        return float(values[0]), 0.0
    return float(np.mean(values)), float(np.std(values))


def within_limit(values: np.ndarray, worst: float, lower_is_better: bool) -> np.ndarray:
    """(N,) bool: at least as good as `worst`; False for NaN."""
    return values <= worst if lower_is_better else values >= worst


def in_top_share(score: np.ndarray, share: float) -> np.ndarray:
    """(N,) bool: among the ceil(share · n) best of the n finite scores; of equal ones the first stay."""
    num_scored = int(np.count_nonzero(~np.isnan(score)))
    # 0.1 * 30 is 3.0000000000000004 in binary, and that is not a fourth crop.
    num_top = math.ceil(num_scored * share - 1e-9 * max(1, num_scored))
    best_first = np.argsort(-score, kind="stable")  # NaN goes last
    top = np.zeros(len(score), bool)
    top[best_first[: max(num_top, min(1, num_scored))]] = True
    return top


@dataclass(frozen=True)
class DuplicateLinks:
    """Which crops are near-duplicates of each other: searched once, grouped for any choice of crops."""

    crops: HashedPictures
    photos: HashedPictures
    same_person: np.ndarray  # (Q, 2)

    @classmethod
    def of(cls, crops: CropTable, config: SelectConfig, among: np.ndarray) -> "DuplicateLinks":
        """Search all links between the crops in `among`, (N,) bool."""
        photos = HashedPictures.of(crops.photo_phash, config.near_duplicate_photo_bits)
        # What is not among them gets the hash 0, which is no information, and so costs nothing in the search.
        hashes = np.where(among, crops.crop_phash, np.uint64(0))
        return cls(
            HashedPictures.of(hashes, config.near_duplicate_crop_bits),
            photos,
            same_person_pairs(photos, crops.photo, crops.square, among),
        )

    def groups(self, among: np.ndarray) -> np.ndarray:
        """The smallest member of each crop's group, in which only crops in `among` take part."""
        return self.crops.groups(among, self.same_person)


def better_in_group(score: np.ndarray, group: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Index of the best crop of the group where that is another one, else -1; ties go to the first.

    Args:
        score: (N,) eq. 1.
        group: (N,) number of each crop's group.
        among: (N,) bool; the others get -1.
    """
    members = np.flatnonzero(among)
    best_first = members[np.lexsort((-score[members], group[members]))]  # stable: equal scores stay in order
    names, first = np.unique(group[best_first], return_index=True)
    better = np.full(len(score), -1)
    better[members] = best_first[first][np.searchsorted(names, group[members])]
    better[better == np.arange(len(score))] = -1
    return better


def _distances(
    crops: CropTable, worse: np.ndarray, better: np.ndarray, config: SelectConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By which hash two crops are near-duplicates, how many bits apart, and how many may be."""
    by_crop = hamming(crops.crop_phash[worse], crops.crop_phash[better])
    by_photo = hamming(crops.photo_phash[worse], crops.photo_phash[better])
    use_photo = (
        (by_crop > config.near_duplicate_crop_bits)
        & (by_photo <= config.near_duplicate_photo_bits)
        & (crops.photo[worse] != crops.photo[better])
    )
    return (
        np.where(use_photo, "photo_phash", "crop_phash"),
        np.where(use_photo, by_photo, by_crop),
        np.where(use_photo, config.near_duplicate_photo_bits, config.near_duplicate_crop_bits),
    )


def photo_groups(crops: CropTable, photos: HashedPictures) -> np.ndarray:
    """Smallest crop of each near-duplicate photo group; crops of one photo always share it."""
    num = len(crops.crop_id)
    _, first, number = np.unique(crops.photo, return_index=True, return_inverse=True)
    return photos.groups(np.ones(num, bool), np.column_stack([np.arange(num), first[number]]))


def choose_val(crop_id: np.ndarray, photo_group: np.ndarray, kept: np.ndarray, config: SelectConfig) -> np.ndarray:
    """(N,) bool: crops of the photo groups that are set aside for validation.

    Together at most `val_size` kept ones, and no larger share of all kept ones than `max_val_share`.
    """
    groups, sizes = np.unique(photo_group[kept], return_counts=True)

    def seeded(group: int) -> bytes:
        return hashlib.blake2b(f"{config.seed}:{crop_id[group]}".encode(), digest_size=16).digest()

    chosen, room = [], min(config.val_size, int(config.max_val_share * np.count_nonzero(kept)))
    for group, size in sorted(zip(groups.tolist(), sizes.tolist(), strict=True), key=lambda pair: seeded(pair[0])):
        if size <= room:
            chosen.append(group)
            room -= size
    return np.isin(photo_group, np.array(chosen, photo_group.dtype))
