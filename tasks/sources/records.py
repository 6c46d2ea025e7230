"""What every source reader yields, whatever its format: photos, person boxes, and records that cannot be read."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from storage.reasons import Reason
from storage.report import Item
from storage.schema import BOX_XYXY_PX, BOXES, PHOTOS
from tasks.photos.names import parts_of
from tasks.photos.photos import Signature

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
    orientation: int | None = None
    """EXIF orientation, 1 to 8, by which the source says that the photo and its boxes are turned upright."""
    boxes_refer_to: Literal["stored", "upright"] | None = None
    """Which pixels the boxes are counted in, where the format's definition says so."""
    record: int | None = None
    """Digest of the whole record where it holds the boxes too: two records of a photo are the same only as a whole."""


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

    item: Item
    reason: Reason
    detail: str
    photo_id: str | None = None
    box_id: str | None = None
    path: str | None = None
    signature: Signature | None = None
    """Of the photo just before it was tried; None where it is missing."""


Record = Photo | PersonBox | Unread

LISTED = PHOTOS.append(pa.field("record", pa.uint64()))
"""Columns of photos as a source lists them: those of PHOTOS, and the digest of `Photo.record`."""

Records = Record | pa.RecordBatch
"""One record, or for speed many photos (columns of LISTED) or many boxes (columns of BOXES) at once."""

MAX_SIDE_PX = 2**31 - 1


class WrongFieldError(ValueError):
    """A field of a record is missing or of another kind than its format says."""


def field(record: Any, name: str) -> Any:  # noqa: ANN401 - whatever a parser made of the annotations
    """`record[name]`."""
    if not isinstance(record, dict):
        raise WrongFieldError(f"{short(record)} is no record")
    if name not in record:
        raise WrongFieldError(f"{name} is missing")
    return record[name]


def identity(value: Any) -> str:  # noqa: ANN401
    """An id as text; whole numbers and texts are ids, anything else is a WrongFieldError.

    9.0 is 9, as a table program writes it; beyond 2^53 such a number may have been another one.
    """
    if type(value) is int:
        return str(value)
    if type(value) is float and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    if type(value) is str and value and _is_unicode(value):
        return value
    raise WrongFieldError(f"{short(value)} is no id")


def text(value: Any) -> str | None:  # noqa: ANN401
    """`value` if it is a text with something in it, None if it is empty, absent or no text."""
    return value if isinstance(value, str) and value and _is_unicode(value) else None


def _is_unicode(value: str) -> bool:
    """False for half of a surrogate pair, which JSON and file names can hold but no table."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def size_px(width: Any, height: Any) -> tuple[int | None, int | None, str | None]:  # noqa: ANN401
    """Width and height, and what is odd about them: then, as where the source says nothing, the file's header decides.

    Known from real sets: 0 and -1 for what nobody measured, and numbers written as texts.
    """
    if width is None and height is None:
        return None, None, None
    for side in (width, height):
        if type(side) not in (int, float) or not 0 < side <= MAX_SIDE_PX or side != math.floor(side):
            return None, None, f"size is {short(width)} x {short(height)}"
    return int(width), int(height), None


_FLAGS: dict[Any, bool | None] = {None: None, 0: False, 1: True}  # 0 is False and 0.0 too
_FLAGS |= {"": None, "?": None, "0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def flags_of(names: Iterable[str], record: Mapping[str, Any]) -> tuple[dict[str, bool | None], list[str]]:
    """Flags by their names, None where nothing is said or where it is nothing known; and the names of the latter."""
    flags: dict[str, bool | None] = {}
    odd = []
    for name in names:
        value = record.get(name)
        try:
            flags[name] = _FLAGS[value.strip().lower() if isinstance(value, str) else value]
        except (KeyError, TypeError):  # a list cannot be looked up
            flags[name] = None
            odd.append(name)
    return flags, odd


def xyxy_of_xywh(value: Any) -> BBox:  # noqa: ANN401
    """A box of four numbers x, y, width, height; NaN passes, since the ingest tells about it."""
    try:
        x, y, width, height = value
        return x + 0.0, y + 0.0, x + width + 0.0, y + height + 0.0
    except (TypeError, ValueError, OverflowError) as error:
        raise WrongFieldError(f"{short(value)} is no box of four numbers") from error


def short(value: object) -> str:
    """`value` for a message, at most 60 characters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def leads_outside(path: str) -> bool:
    """Whether a path leaves its folder by its letters alone: with `..` or a NUL, or empty.

    Backslashes count as separators, so that what is refused does not depend on the operating system. A path from
    another machine is none of these: only its end is looked for, in the photo folder. Symbolic links are not looked at
    here; `tasks.photos.local_folder` resolves them whenever it opens a photo.
    """
    return parts_of(path) is None


def photos_batch(photos: Sequence[Photo]) -> pa.RecordBatch:
    """`photos` as columns of LISTED."""
    return _batch_of_rows(photos, LISTED)


def boxes_batch(boxes: Sequence[PersonBox]) -> pa.RecordBatch:
    """`boxes` as columns of BOXES."""
    return _batch_of_rows(boxes, BOXES)


def batch_of_columns(columns: Mapping[str, Any], num_rows: int, schema: pa.Schema) -> pa.RecordBatch:
    """Arrow arrays or lists as a batch of `schema`, with nulls where a column is not given."""
    arrays = [
        columns[c.name] if isinstance(columns.get(c.name), pa.Array) else _array(columns.get(c.name), num_rows, c.type)
        for c in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def bbox_array(numbers: np.ndarray) -> pa.Array:
    """(4 N,) float64 coordinates, box after box, as a column of N boxes; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return pa.FixedSizeListArray.from_arrays(pa.array(numbers.astype(np.float32)), type=BOX_XYXY_PX)


def _batch_of_rows(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    flat = list(chain.from_iterable(rows))  # a third of the time of zip(*rows)
    columns = {name: flat[i :: len(schema)] for i, name in enumerate(schema.names)}
    return batch_of_columns(columns, len(rows), schema)


def _array(values: list[Any] | None, num_rows: int, kind: pa.DataType) -> pa.Array:
    num_null = num_rows if values is None else values.count(None)
    if values is None or num_null == num_rows:
        return pa.nulls(num_rows, kind)
    if kind == BOX_XYXY_PX and not num_null:  # an array of numbers is many times faster than a list of lists
        return bbox_array(np.fromiter(chain.from_iterable(values), np.float64, 4 * num_rows))
    return pa.array(values, kind)
