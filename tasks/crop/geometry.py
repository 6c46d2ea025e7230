"""Boxes and squares: which square to cut around which person. Plain arithmetic, no pixels.

A box is `(x_min, y_min, x_max, y_max)` in photo pixels, half-open; a square has whole-number corners.
"""

import math
from collections.abc import Sequence

import numpy as np

BOXES_AT_ONCE = 256
"""Boxes that are compared with all others of their photo at a time, which bounds the memory."""

Box = tuple[float, float, float, float]
Square = tuple[int, int, int, int]


def clip(box: Box, width_px: int, height_px: int) -> Box | None:
    """The part of `box` inside the photo, or None where there is none."""
    x_min, y_min = max(box[0], 0.0), max(box[1], 0.0)
    x_max, y_max = min(box[2], float(width_px)), min(box[3], float(height_px))
    return (x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None


def area(box: Box) -> float:
    """Square pixels of a box with positive sides."""
    return (box[2] - box[0]) * (box[3] - box[1])


def longer_side(box: Box) -> float:
    """Longer edge in pixels."""
    return max(box[2] - box[0], box[3] - box[1])


def share_inside(box: Box, frame: Box | Square) -> float:
    """Share of the box's area that lies in `frame`, 0 to 1."""
    width = min(box[2], frame[2]) - max(box[0], frame[0])
    height = min(box[3], frame[3]) - max(box[1], frame[1])
    return min(width * height / area(box), 1.0) if width > 0 and height > 0 else 0.0


def iou(a: Square, b: Square) -> float:
    """Intersection over union, 0 to 1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (area(a) + area(b) - width * height)


def square_around(box: Box, width_px: int, height_px: int) -> Square:
    """The square of the box's longer side, centred on it, moved and if need be shrunk to lie inside the photo.

    HQ-ACF, step 4: the side is the longer edge of the box (rounded up to whole pixels here); it shrinks only where
    the photo itself is smaller.

    Args:
        box: inside the photo.
        width_px: of the photo.
        height_px: of the photo.
    """
    side = max(1, min(math.ceil(longer_side(box)), width_px, height_px))
    x_min = min(max(round((box[0] + box[2] - side) / 2), 0), width_px - side)
    y_min = min(max(round((box[1] + box[3] - side) / 2), 0), height_px - side)
    return (x_min, y_min, x_min + side, y_min + side)


def crowding(boxes: Sequence[Box], asked: Sequence[int] | None = None) -> list[float]:
    """For each box, or for those whose numbers are asked: how many of the others lie on an average pixel of it.

    0 for a person alone; 1 where others' boxes cover it once over, or half of it twice. The sum of the others'
    intersections with it, divided by its area.
    """
    asked = range(len(boxes)) if asked is None else asked
    x_min, y_min, x_max, y_max = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T
    found: list[float] = []
    for start in range(0, len(asked), BOXES_AT_ONCE):
        some = np.asarray(asked[start : start + BOXES_AT_ONCE])
        width = np.minimum.outer(x_max[some], x_max) - np.maximum.outer(x_min[some], x_min)
        height = np.minimum.outer(y_max[some], y_max) - np.maximum.outer(y_min[some], y_min)
        overlap = width.clip(min=0) * height.clip(min=0)
        itself = np.arange(len(some)), some
        own = overlap[itself]
        overlap[itself] = 0
        # Sorted first, so that the sum does not depend on the order of the boxes, not even in its last bit.
        found += (np.sort(overlap, axis=1).sum(axis=1) / own).tolist()
    return found


def distance_to_centre(box: Box | Square, width_px: int, height_px: int) -> float:
    """Pixels from the middle of the box to the middle of the photo."""
    return math.hypot((box[0] + box[2] - width_px) / 2, (box[1] + box[3] - height_px) / 2)
