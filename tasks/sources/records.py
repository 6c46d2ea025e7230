"""What every source reader yields, whatever its format: photos, person boxes, and records that cannot be read."""

from typing import NamedTuple

from storage.reasons import Reason

BBox = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max in pixels of the photo; half-open, not clipped, not checked."""


class Photo(NamedTuple):
    """One photo that the source lists; `path` is relative to the source's photo folder, unchecked."""

    photo_id: str
    path: str
    width_px: int | None = None
    height_px: int | None = None
    licence: str | None = None
    licence_url: str | None = None
    author: str | None = None
    photo_url: str | None = None
    page_url: str | None = None


class PersonBox(NamedTuple):
    """One box around a person; every flag is None where the source does not say."""

    photo_id: str
    box_id: str
    bbox_xyxy_px: BBox
    visible_bbox_xyxy_px: BBox | None = None
    head_bbox_xyxy_px: BBox | None = None
    labels: tuple[str, ...] = ()
    pose: str | None = None
    confidence: float | None = None
    crowd: bool | None = None
    group: bool | None = None
    depiction: bool | None = None
    inside: bool | None = None
    occluded: bool | None = None
    truncated: bool | None = None
    difficult: bool | None = None
    ignore: bool | None = None
    fake: bool | None = None
    reflected: bool | None = None


class Unread(NamedTuple):
    """A record, photo or box that the reader itself had to give up, with the reason."""

    item: str  # record, photo or box
    reason: Reason
    detail: str
    photo_id: str | None = None
    box_id: str | None = None
    path: str | None = None


Record = Photo | PersonBox | Unread
