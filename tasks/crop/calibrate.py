"""What other limits would cut out, from the tables of boxes and rejects alone: no photo is opened for it.

Every number is what the crop stage would give. Only the sharpness of photos that no run has opened is not known:
they count as sharp, and how many they are is told.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.reasons import Reason
from storage.shard import Row, Shard
from tasks.crop.filters import Candidate, CropConfig, choose_squares
from tasks.crop.geometry import clip, longer_side, square_around

MIN_SIDES = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Tried for `min_side_px`, as shares of `side_px`."""
MAX_UPSCALES = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
"""Tried for `max_upscale`."""
BLUR_LIMITS = (0.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0)
"""Tried for `min_laplacian_variance`."""
MAX_PHOTOS = 20_000
"""Of one source are looked at, in 4 s. Shards hold photos by the hash of their ids, so the first are a fair sample."""


@dataclass(frozen=True)
class CropCalibration:
    """What is to be known before the limits of the crop stage are set."""

    num_photos: int
    num_read: int  # of them, looked at; where it is less, every number of crops is an estimate
    num_unopened: int  # of those looked at, with crops whose photo was never opened
    configured: int
    by_size: dict[tuple[float, float], int]  # min_side_px, max_upscale → crops, everything else as configured
    by_blur: dict[float, int]  # min_laplacian_variance → crops, everything else as configured

    @property
    def is_estimate(self) -> bool:
        """Not every photo was looked at."""
        return self.num_read < self.num_photos


def calibrate_crop(boxed: Sequence[Shard], cropped: Iterable[Shard], config: CropConfig) -> CropCalibration:
    """How many crops other limits would give.

    Args:
        boxed: finished shards of photos and boxes, of ingest or detect.
        cropped: finished crop shards of the same photos, under whatever limits; they know which photos are blurred.
        config: the present limits.
    """
    num_photos, photos = _sample(boxed)
    seen = _seen(cropped)
    by_size: dict[tuple[float, float], int] = {}
    configured_size = config.min_side_px, config.max_upscale
    sides = sorted({round(share * config.side_px) for share in MIN_SIDES} | {config.min_side_px})
    for size in [(side, upscale) for side in sides for upscale in sorted({*MAX_UPSCALES, config.max_upscale})]:
        by_size[size] = 0
    by_blur = dict.fromkeys(sorted({*BLUR_LIMITS, config.min_laplacian_variance}), 0)
    num_unopened = 0
    for source, photo, rows in photos:
        sharpness = seen.get((source, photo["photo_id"]), None)
        if sharpness == UNREADABLE:
            continue
        counts = _counts(rows, (photo["width_px"], photo["height_px"]), config, by_size)
        num_unopened += sharpness is None and counts[configured_size] > 0
        if sharpness is None or sharpness >= config.min_laplacian_variance:
            for size, num in counts.items():
                by_size[size] += num
        for limit in by_blur:
            if sharpness is None or sharpness >= limit:
                by_blur[limit] += counts[configured_size]
    scale = num_photos / len(photos) if photos else 1.0
    return CropCalibration(
        num_photos=num_photos,
        num_read=len(photos),
        num_unopened=num_unopened,
        configured=round(by_size[configured_size] * scale),
        by_size={size: round(num * scale) for size, num in by_size.items()},
        by_blur={limit: round(num * scale) for limit, num in by_blur.items()},
    )


def _counts(
    rows: list[Row], size_px: tuple[int, int], config: CropConfig, sizes: Iterable[tuple[float, float]]
) -> dict[tuple[float, float], int]:
    """How many squares of a photo each pair of limits chooses; pairs that let the same boxes through are one look."""
    measured = []
    for row in rows:
        if box := clip(tuple(row["bbox_xyxy_px"]), *size_px):
            square = square_around(box, *size_px)
            measured.append((longer_side(box), config.side_px / (square[2] - square[0])))
    known: dict[tuple[bool, ...], int] = {}
    counts = {}
    for min_side, max_upscale in sizes:
        passing = tuple(side >= min_side and upscale <= max_upscale for side, upscale in measured)
        if passing not in known:
            tried = config.model_copy(update={"min_side_px": min_side, "max_upscale": max_upscale})
            outcomes = choose_squares(rows, size_px, tried) if any(passing) else []
            known[passing] = sum(isinstance(outcome, Candidate) for _, outcome in outcomes)
        counts[min_side, max_upscale] = known[passing]
    return counts


def _sample(boxed: Sequence[Shard]) -> tuple[int, list[tuple[str, Row, list[Row]]]]:
    """How many photos there are, and up to MAX_PHOTOS of each source with their boxes, if their size is known."""
    num_photos = 0
    taken: dict[str, int] = defaultdict(int)
    photos = []
    for shard in boxed:
        num = shard.num_rows("photos")
        num_photos += num
        if taken[shard.source] >= MAX_PHOTOS:
            continue
        taken[shard.source] += num
        boxes: dict[str, list[Row]] = defaultdict(list)
        for row in shard.read("boxes").to_pylist():
            boxes[row["photo_id"]].append(row)
        for photo in shard.read("photos", ["photo_id", "width_px", "height_px"]).to_pylist():
            if photo["width_px"] and photo["height_px"]:
                photos.append((shard.source, photo, boxes[photo["photo_id"]]))
    return num_photos, photos


UNREADABLE = -1.0
"""Stands for the sharpness of a photo that no limit can help."""


def _seen(cropped: Iterable[Shard]) -> Mapping[tuple[str, str], float]:
    """Source and photo id → Laplacian variance of every photo that was opened; UNREADABLE where that failed."""
    seen: dict[tuple[str, str], float] = {}
    for shard in cropped:
        for row in shard.read("crops", ["photo_id", "laplacian_variance"]).to_pylist():
            seen[shard.source, row["photo_id"]] = row["laplacian_variance"]
        for row in shard.read("rejects", ["item", "photo_id", "reason", "value"]).to_pylist():
            if row["item"] == "photo" and row["reason"] != Reason.NO_BOX_LEFT:
                blurred = row["reason"] == Reason.BLURRED_PHOTO
                seen[shard.source, row["photo_id"]] = row["value"] if blurred else UNREADABLE
    return seen


def size_rows(calibration: CropCalibration) -> list[list[str]]:
    """Lines of a table: min_side_px downwards, max_upscale across; the heading first."""
    sides = sorted({side for side, _ in calibration.by_size})
    upscales = sorted({upscale for _, upscale in calibration.by_size})
    heading = [
        "min_side_px",
        *(f"max_upscale {upscale:g}" if not i else f"{upscale:g}" for i, upscale in enumerate(upscales)),
    ]
    return [heading] + [
        [f"{side:g}", *(f"{calibration.by_size[side, upscale]:,}" for upscale in upscales)] for side in sides
    ]


def blur_rows(calibration: CropCalibration) -> list[list[str]]:
    """Lines of a table: min_laplacian_variance and crops; the heading first."""
    rows = [[f"{limit:g}", f"{num:,}"] for limit, num in calibration.by_blur.items()]
    return [["min_laplacian_variance", "crops"], *rows]
