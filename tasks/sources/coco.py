"""COCO 2017 detection annotations, and the reader of every JSON file of that shape.

Format: https://cocodataset.org/#format-data. Boxes are `[x, y, width, height]` in pixels from 0, not rounded.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import FilePath

from storage.errors import InputError
from storage.frozen import HOW
from storage.reasons import Reason
from storage.schema import BOXES
from tasks.photos.photos import Photos
from tasks.sources.base import Source
from tasks.sources.json_stream import CutError, arrays_of, find_records
from tasks.sources.records import (
    Photo,
    Records,
    Unread,
    WrongFieldError,
    batch_of_columns,
    bbox_array,
    field,
    identity,
    side_px,
    text,
    xyxy_of_xywh,
)

BOXES_AT_ONCE = 16_384

Labels = dict[Any, str]
"""Id of a person category → its name."""
Licences = dict[Any, tuple[str | None, str | None]]
"""Id of a licence → its name and address."""


class CocoShapedSource(Source):
    """A JSON object with the arrays images, annotations, categories and, optionally, licenses, in any order."""

    annotations: Annotated[FilePath, HOW]
    """The JSON file."""

    def annotation_files(self) -> list[Path]:
        """The JSON file."""
        return [self.annotations]

    def path_of(self, file_name: str) -> str:
        """Where a photo lies below the photo folder."""
        return file_name

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source."""
        categories, licences = (find_records(self.annotations, key) for key in ("categories", "licenses"))
        labels = self._person_labels(categories)
        names_of = {item["id"]: (text(item.get("name")), text(item.get("url"))) for item in _hashable(licences)}
        met: dict[str, list[Any]] = {}
        try:
            for key, items in arrays_of(self.annotations):
                met.setdefault(key, [])
                if key == "annotations":
                    yield from self._boxes(items, labels)
                elif key == "images":
                    yield from (self._photo(item, names_of) for item in items)
                elif key in ("categories", "licenses"):
                    met[key] += items
                else:
                    deque(items, maxlen=0)
        except CutError as error:
            yield Unread("record", Reason.ANNOTATIONS_CUT, str(error))
            return
        for key in ("images", "annotations", "categories"):
            if key not in met:
                raise InputError(f"{self.annotations} has no array {key}, only {', '.join(met) or 'none at all'}")
        if met["categories"] != (categories or []) or (licences and met.get("licenses") != licences):
            raise InputError(
                f"{self.annotations}: categories and licenses must be one array each, of objects with an id"
            )
        if not labels:
            raise InputError(f"{self.annotations} has no categories, so it does not say which boxes are people")

    def _person_labels(self, categories: list[dict[str, Any]] | None) -> Labels:
        named = [(item["id"], text(item.get("name"))) for item in _hashable(categories)]
        labels = {key: name for key, name in named if name and name.casefold() == "person"}
        if named and not labels:
            raise InputError(
                f"{self.annotations} has no category 'person', only {', '.join(sorted(str(name) for _, name in named))}"
            )
        return labels

    def _photo(self, item: Any, licences: Licences) -> Photo | Unread:  # noqa: ANN401
        try:
            licence_id = item.get("license") if isinstance(item, dict) else None
            name, url = licences.get(licence_id, (None, None)) if isinstance(licence_id, int | str) else (None, None)
            return Photo(
                photo_id=identity(field(item, "id")),
                path=self.path_of(identity(field(item, "file_name"))),
                width_px=side_px(item.get("width")),
                height_px=side_px(item.get("height")),
                licence=name,
                licence_url=url,
                photo_url=text(item.get("coco_url")) or text(item.get("url")),
                page_url=text(item.get("flickr_url")),
            )
        except WrongFieldError as error:
            return Unread("photo", Reason.BROKEN_RECORD, f"image: {error}", _id_in(item, "id"))

    def _boxes(self, items: Iterator[Any], labels: Labels) -> Iterator[Records]:
        """The boxes as columns, which costs half of what one PersonBox each would."""
        rows: list[Any] = []
        try:
            for item in items:
                try:
                    label = labels.get(item["category_id"])
                    if label is not None:
                        rows += _row(item, label)
                except (KeyError, TypeError, WrongFieldError) as error:
                    yield _unread_annotation(item, labels, error)
                if len(rows) >= BOXES_AT_ONCE * _ROW_LENGTH:
                    yield _batch(rows)
                    rows = []
        except CutError:
            if rows:
                yield _batch(rows)
            raise
        if rows:
            yield _batch(rows)


_FLAGS = {None: None, 0: False, 1: True}
_ROW_LENGTH = 10


def _row(item: dict[str, Any], label: str) -> tuple[Any, ...]:
    return (
        identity(item["image_id"]),
        identity(item["id"]),
        *xyxy_of_xywh(item["bbox"]),
        (label,),
        _FLAGS[item.get("iscrowd")],
        _FLAGS[item.get("isfake")],
        _FLAGS[item.get("isreflected")],
    )


def _batch(rows: list[Any]) -> pa.RecordBatch:
    photo_id, box_id, *xyxy, labels, crowd, fake, reflected = (rows[i::_ROW_LENGTH] for i in range(_ROW_LENGTH))
    columns = {
        "photo_id": photo_id,
        "box_id": box_id,
        "bbox_xyxy_px": bbox_array(np.array(xyxy).T.ravel()),
        "labels": labels,
        "crowd": crowd,
        "fake": fake,
        "reflected": reflected,
    }
    return batch_of_columns(columns, len(photo_id), BOXES)


def _unread_annotation(item: Any, labels: Labels, error: Exception) -> Unread:  # noqa: ANN401
    """An annotation that cannot be read: a person's box, or a record of which not even that is known."""
    detail = f"annotation: {error if isinstance(error, WrongFieldError) else f'{error} is missing or of another kind'}"
    photo_id, box_id = _id_in(item, "image_id"), _id_in(item, "id")
    try:
        is_person = labels.get(item["category_id"]) is not None
    except (KeyError, TypeError):
        is_person = False
    return Unread("box" if is_person else "record", Reason.BROKEN_RECORD, detail, photo_id, box_id)


def _hashable(records: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return [record for record in records or [] if isinstance(record["id"], int | str)]


def _id_in(item: Any, name: str) -> str | None:  # noqa: ANN401
    try:
        return identity(field(item, name))
    except WrongFieldError:
        return None


class CocoSource(CocoShapedSource):
    """COCO: `instances_train2017.json` with the folder `train2017`, and files made like it."""

    homepage: ClassVar[str] = "https://cocodataset.org"
    format: Literal["coco"] = "coco"
