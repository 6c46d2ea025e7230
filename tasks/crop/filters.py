"""Which people of a photo are cut out, from boxes and sizes alone: no file is opened for it (HQ-ACF, steps 3 and 4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from storage.frozen import Frozen
from storage.reasons import Reason
from storage.rejection import Rejection
from storage.schema import FLAGS
from storage.shard import Row
from tasks.crop.geometry import (
    Box,
    Square,
    clip,
    crowding,
    distance_to_centre,
    iou,
    longer_side,
    share_inside,
    square_around,
)

Share = Annotated[float, Field(ge=0, le=1)]
Flag = Literal[
    "crowd", "group", "depiction", "inside", "occluded", "truncated", "difficult", "ignore", "fake", "reflected"
]


NOT_ONE_PERSON = ("crowd", "group", "ignore")
"""Flags of boxes that are not one person: such a box is neither counted among the people nor does it crowd anybody."""


class CropConfig(Frozen):
    """Which people are cut out, and how. The paper gives none of these numbers but the side of the crop.

    The defaults fit photos as most datasets have them. A photo of 640x480 cannot hold a person of 512 px, so with
    `min_side_px: 512` COCO gives nothing: 0 crops of 290 boxes in 75 of its photos, 28 with 256 px enlarged at most
    twice. `configs/persona.yaml` keeps the paper's side without enlarging.
    """

    side_px: PositiveInt = 512
    """Side of a crop."""
    min_laplacian_variance: NonNegativeFloat = 100.0
    """A photo whose grey version has a lower Laplacian variance is blurred."""
    allowed_flags: tuple[Flag, ...] = ("occluded", "truncated")
    """A box that carries any other flag of its annotation is rejected."""
    min_side_px: PositiveFloat = 256.0
    """Longer side of a person box, clipped to the photo, below which it is too small; `side_px` for crops that hold
    nothing but pixels of the photo."""
    max_upscale: PositiveFloat = 2.0
    """How much a square may be enlarged to reach `side_px`; 1.0 = never. 2.0 = from half of it."""
    max_crowding: NonNegativeFloat = 1.0
    """How many other people's boxes may lie on an average pixel of the box."""
    min_share_inside: Share = 0.9
    """Share of the box that must stay in a square which the photo was too small for."""
    max_square_iou: Share = 0.3
    """Of two squares that overlap more, the one around the person closer to the photo's centre stays."""
    enlarge_with: Literal["lanczos", "cubic"] = "cubic"
    """Filter for enlarging; shrinking always averages areas. Lanczos takes ten times as long."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person box that is cut out unless its photo turns out to be unusable."""

    row: Row  # of the boxes table
    box: Box  # clipped to the photo
    square: Square


def choose_squares(
    rows: list[Row], size: tuple[int, int], config: CropConfig
) -> Iterator[tuple[Row, Candidate | Rejection]]:
    """Which boxes of a photo are cut out, from numbers alone; every row comes out exactly once.

    In this order: outside of the photo, flags, size, enlargement, crowding, what the square cuts off, and last
    non-maximum suppression among the squares, in which the box closest to the photo's centre wins.

    Args:
        rows: of the boxes table.
        size: width and height of the photo, px.
        config: the limits.
    """
    large_enough = []
    for row in rows:
        box = clip(tuple(row["bbox_xyxy_px"]), *size)
        if box is None:
            yield row, Rejection(Reason.OUTSIDE_PHOTO)
            continue
        candidate = Candidate(row, box, square_around(box, *size))
        lost = _unwanted_alone(candidate, config)
        if lost:
            yield row, lost
        else:
            large_enough.append(candidate)
    if not large_enough:
        return
    people = people_in(rows, size)
    numbers = {box_id: number for number, box_id in enumerate(people)}
    asked = [c.row["box_id"] for c in large_enough if c.row["box_id"] in numbers]
    crowds = crowding(list(people.values()), [numbers[box_id] for box_id in asked])
    crowding_of = dict(zip(asked, crowds, strict=True))
    candidates = []
    for candidate in large_enough:
        lost = _unwanted_here(candidate, crowding_of.get(candidate.row["box_id"], 0.0), config)
        if lost:
            yield candidate.row, lost
        else:
            candidates.append(candidate)
    candidates.sort(key=lambda c: (distance_to_centre(c.box, *size), -longer_side(c.box), c.row["box_id"]))
    chosen: list[Candidate] = []
    for candidate in candidates:
        overlaps = [(iou(candidate.square, other.square), other.row["box_id"]) for other in chosen]
        worst = max(overlaps, default=(0.0, ""))
        if worst[0] > config.max_square_iou:
            yield candidate.row, Rejection(Reason.OVERLAPS_CHOSEN, worst[0], config.max_square_iou, f"box {worst[1]}")
        else:
            chosen.append(candidate)
            yield candidate.row, candidate


def _unwanted_alone(candidate: Candidate, config: CropConfig) -> Rejection | None:
    """What speaks against a box whatever else is in the photo."""
    row, side = candidate.row, longer_side(candidate.box)
    flag = next((name for name in FLAGS if row[name] and name not in config.allowed_flags), None)
    if flag:
        return Rejection(Reason.FLAG_NOT_ALLOWED, detail=flag)
    if side < config.min_side_px:
        return Rejection(Reason.TOO_SMALL, side, config.min_side_px)
    upscale = config.side_px / (candidate.square[2] - candidate.square[0])
    if upscale > config.max_upscale:
        return Rejection(Reason.ENLARGED_TOO_MUCH, upscale, config.max_upscale)
    return None


def _unwanted_here(candidate: Candidate, crowd: float, config: CropConfig) -> Rejection | None:
    """What speaks against a box in this photo."""
    if crowd > config.max_crowding:
        return Rejection(Reason.CROWDED, crowd, config.max_crowding)
    inside = share_inside(candidate.box, candidate.square)
    if inside < config.min_share_inside:
        return Rejection(Reason.CUT_BY_SQUARE, inside, config.min_share_inside)
    return None


def people_in(rows: list[Row], size: tuple[int, int]) -> dict[str, Box]:
    """Box id → box clipped to the photo, for every box that is one person."""
    clipped = {
        r["box_id"]: clip(tuple(r["bbox_xyxy_px"]), *size) for r in rows if not any(r[f] for f in NOT_ONE_PERSON)
    }
    return {box_id: box for box_id, box in clipped.items() if box}
