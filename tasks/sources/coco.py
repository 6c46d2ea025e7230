"""COCO 2017 detection annotations, and the reader of every JSON file of that shape.

Format: https://cocodataset.org/#format-data. Boxes are `[x, y, width, height]` in pixels from 0, not rounded.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from storage.errors import InputError
from storage.frozen import HOW
from storage.reasons import Reason
from storage.schema import BOXES
from tasks.photos.photos import Photos
from tasks.sources.annotation_file import AnnotationFile, AnnotationFiles
from tasks.sources.base import Source
from tasks.sources.json_stream import CutError, arrays_of, find_records
from tasks.sources.labels import PERSON_LABELS, Labels, is_person, no_person_label
from tasks.sources.recognise import expect_format
from tasks.sources.records import (
    Photo,
    Records,
    Unread,
    WrongFieldError,
    batch_of_columns,
    bbox_array,
    field,
    flags_of,
    identity,
    short,
    size_px,
    text,
    xyxy_of_xywh,
)

BOXES_AT_ONCE = 16_384


class Categories(NamedTuple):
    """The categories of a file. Ids are there as texts and, where they are whole numbers, as numbers too."""

    labels: dict[Any, str | None]
    """Id → its name where it is a person's, None where it is something else."""
    contested: frozenset[str]
    """Ids that several categories share: nobody knows which of them a box has."""


Licences = dict[Any, tuple[str | None, str | None]]
"""Id of a licence → its name and address."""


class CocoShapedSource(Source):
    """A JSON object with the arrays images, annotations, categories and, optionally, licenses, in any order."""

    format: str
    annotations: Annotated[AnnotationFiles, HOW]
    """The JSON file, or several."""
    labels: Labels = PERSON_LABELS
    """Names of the categories that are people, compared without case."""

    def annotation_files(self) -> list[AnnotationFile]:
        """The JSON files."""
        return list(self.annotations)

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source."""
        for file in self.annotations:
            yield from self._read(file)

    def _read(self, file: AnnotationFile) -> Iterator[Records]:
        expect_format(file, self.format)
        categories, licences = (find_records(file, key) for key in ("categories", "licenses"))
        people = self._categories(file, categories)
        names_of = _licences(licences)
        met: dict[str, list[Any]] = {}
        try:
            for key, items in arrays_of(file, _ARRAYS):
                met.setdefault(key, [])
                if key == "annotations":
                    yield from self._boxes(items, people)
                elif key == "images":
                    for item in items:
                        yield from self._photo(item, names_of)
                else:
                    met[key] += items
        except CutError as error:
            yield Unread("record", Reason.ANNOTATIONS_CUT, str(error))
            return
        for key in ("images", "annotations", "categories"):
            if key not in met:
                raise InputError(f"{file} has no array {key}, only {', '.join(met) or 'none at all'}")
        if met["categories"] != (categories or []) or (licences and met.get("licenses") != licences):
            raise InputError(f"{file}: categories and licenses must be one array each, of objects with an id")
        if not any(people):
            raise InputError(f"{file} has no categories, so it does not say which boxes are people")

    def _categories(self, file: AnnotationFile, records: list[dict[str, Any]] | None) -> Categories:
        names: dict[str, dict[str, str | None]] = {}
        for record in records or []:
            with contextlib.suppress(WrongFieldError):
                name = text(record.get("name"))
                names.setdefault(identity(record["id"]), {}).setdefault((name or "").casefold(), name)
        labels: dict[Any, str | None] = {}
        for key, (name, *others) in ((key, found.values()) for key, found in names.items()):
            if not others:
                _put(labels, key, name if is_person(name, self.labels) else None)
        every = [name for found in names.values() for name in found.values()]
        if every and not any(is_person(name, self.labels) for name in every):
            raise InputError(no_person_label(file, self.labels, every))
        return Categories(labels, frozenset(key for key, found in names.items() if len(found) > 1))

    def _photo(self, item: Any, licences: Licences) -> Iterator[Photo | Unread]:  # noqa: ANN401
        try:
            photo_id, file_name = identity(field(item, "id")), identity(field(item, "file_name"))
        except WrongFieldError as error:
            yield Unread("photo", Reason.BROKEN_RECORD, f"image: {error}", _id_in(item, "id"))
            return
        width, height, odd = size_px(item.get("width"), item.get("height"))
        if odd:
            yield Unread("field", Reason.UNREADABLE_FIELD, odd, photo_id)
        licence_id = item.get("license")
        name, url = (
            licences.get(licence_id, (None, None)) if isinstance(licence_id, int | str | float) else (None, None)
        )
        yield Photo(
            photo_id=photo_id,
            path=file_name,
            width_px=width,
            height_px=height,
            licence=name,
            licence_url=url,
            photo_url=text(item.get("coco_url")) or text(item.get("url")),
            page_url=text(item.get("flickr_url")),
        )

    def _boxes(self, items: Iterator[Any], categories: Categories) -> Iterator[Records]:
        """The boxes as columns, which costs half of what one PersonBox each would."""
        rows: list[Any] = []
        labels = categories.labels
        try:
            for item in items:
                try:
                    label = labels[item["category_id"]]
                    if label is not None:
                        rows += _row(item, label)
                except (KeyError, TypeError, WrongFieldError):
                    yield from _odd_annotation(item, categories, rows)
                if len(rows) >= BOXES_AT_ONCE * _ROW_LENGTH:
                    yield _batch(rows)
                    rows = []
        except CutError:
            if rows:
                yield _batch(rows)
            raise
        if rows:
            yield _batch(rows)


_ARRAYS = ("images", "annotations", "categories", "licenses")
_FLAGS = {None: None, 0: False, 1: True}
_FLAG_NAMES = ("iscrowd", "ignore", "isfake", "isreflected")
_ROW_LENGTH = 11


def _row(item: dict[str, Any], label: str) -> tuple[Any, ...]:
    return (
        identity(item["image_id"]),
        identity(item["id"]),
        *xyxy_of_xywh(item["bbox"]),
        (label,),
        _FLAGS[item.get("iscrowd")],
        _FLAGS[item.get("ignore")],
        _FLAGS[item.get("isfake")],
        _FLAGS[item.get("isreflected")],
    )


def _batch(rows: list[Any]) -> pa.RecordBatch:
    photo_id, box_id, *xyxy, labels, crowd, ignore, fake, reflected = (rows[i::_ROW_LENGTH] for i in range(_ROW_LENGTH))
    columns = {
        "photo_id": photo_id,
        "box_id": box_id,
        "bbox_xyxy_px": bbox_array(np.array(xyxy).T.ravel()),
        "labels": labels,
        "crowd": crowd,
        "ignore": ignore,
        "fake": fake,
        "reflected": reflected,
    }
    return batch_of_columns(columns, len(photo_id), BOXES)


def _odd_annotation(item: Any, categories: Categories, rows: list[Any]) -> Iterator[Unread]:  # noqa: ANN401
    """What is wrong with an annotation; where that is no more than its flags, its row goes to `rows` without them."""
    photo_id, box_id = _id_in(item, "image_id"), _id_in(item, "id")
    try:
        category = identity(field(item, "category_id"))
    except WrongFieldError as error:
        yield Unread("record", Reason.BROKEN_RECORD, f"annotation: {error}", photo_id, box_id)
        return
    if category not in categories.labels:
        reason = Reason.CONTESTED_CATEGORY if category in categories.contested else Reason.UNKNOWN_CATEGORY
        if not any(categories):  # they stand behind the place where the file is cut
            reason = Reason.ANNOTATIONS_CUT
        yield Unread("box", reason, f"category {short(category)}", photo_id, box_id)
        return
    label = categories.labels[category]
    if label is None:
        return
    flags, odd = flags_of(_FLAG_NAMES, item)
    try:
        for name in ("image_id", "id", "bbox"):
            field(item, name)
        rows += _row({**item, **flags}, label)
    except WrongFieldError as error:
        yield Unread("box", Reason.BROKEN_RECORD, f"annotation: {error}", photo_id, box_id)
        return
    for name in odd:
        yield Unread("field", Reason.UNREADABLE_FIELD, f"{name} is {short(item[name])}", photo_id, box_id)


def _licences(records: list[dict[str, Any]] | None) -> Licences:
    """Every licence; of one whose id several share nothing is said."""
    found: Licences = {}
    for record in records or []:
        with contextlib.suppress(WrongFieldError):
            key, licence = identity(record["id"]), (text(record.get("name")), text(record.get("url")))
            _put(found, key, licence if found.get(key, licence) == licence else (None, None))
    return found


def _put(table: dict[Any, Any], key: str, value: object) -> None:
    """`table[key] = value`, and the same under the number that `key` may be: 7, but not 07."""
    table[key] = value
    if key.isascii() and key.isdecimal() and key == str(int(key)):
        table[int(key)] = value


def _id_in(item: Any, name: str) -> str | None:  # noqa: ANN401
    try:
        return identity(field(item, name))
    except WrongFieldError:
        return None


class CocoSource(CocoShapedSource):
    """COCO: `instances_train2017.json` with the folder `train2017`, and files made like it."""

    homepage: ClassVar[str] = "https://cocodataset.org"
    format: Literal["coco"] = "coco"
