"""COCO 2017 detection annotations, and the reader of every JSON file of that shape.

Format: https://cocodataset.org/#format-data. Boxes are `[x, y, width, height]` in pixels from 0, not rounded.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import FilePath

from storage.reasons import Reason
from tasks.sources.base import Source
from tasks.sources.json_stream import CutError, find_records, items_of_arrays
from tasks.sources.records import (
    PersonBox,
    Photo,
    Records,
    Unread,
    WrongFieldError,
    field,
    flag,
    identity,
    side_px,
    text,
    xyxy_of_xywh,
)

Labels = dict[Any, str]
"""Id of a person category → its name."""
Licences = dict[Any, tuple[str | None, str | None]]
"""Id of a licence → its name and address."""


class CocoShapedSource(Source):
    """A JSON object with the arrays images, annotations, categories and, optionally, licenses, in any order."""

    annotations: FilePath
    """The JSON file."""

    def annotation_files(self) -> list[Path]:
        """The JSON file."""
        return [self.annotations]

    def path_of(self, file_name: str) -> str:
        """Where a photo lies below the photo folder."""
        return file_name

    def read(self, scratch: Path) -> Iterator[Records]:
        """See Source."""
        categories, licences = (find_records(self.annotations, key) for key in ("categories", "licenses"))
        labels = self._person_labels(categories)
        names_of = {item["id"]: (text(item.get("name")), text(item.get("url"))) for item in _hashable(licences)}
        met: dict[str, list[Any]] = {}
        try:
            for key, item in items_of_arrays(self.annotations):
                if item is None:
                    met.setdefault(key, [])
                elif key == "annotations":
                    record = self._box(item, labels)
                    if record is not None:
                        yield record
                elif key == "images":
                    yield self._photo(item, names_of)
                elif key in ("categories", "licenses"):
                    met.setdefault(key, []).append(item)
        except CutError as error:
            yield Unread("record", Reason.ANNOTATIONS_CUT, str(error))
            return
        for key in ("images", "annotations", "categories"):
            if key not in met:
                raise ValueError(f"{self.annotations} has no array {key}, only {', '.join(met) or 'none at all'}")
        if met["categories"] != (categories or []) or (licences and met.get("licenses") != licences):
            raise ValueError(f"{self.annotations}: categories and licenses must be one array each, of objects with an id")
        if not labels:
            raise ValueError(f"{self.annotations} has no categories, so it does not say which boxes are people")

    def _person_labels(self, categories: list[dict[str, Any]] | None) -> Labels:
        named = [(item["id"], text(item.get("name"))) for item in _hashable(categories)]
        labels = {key: name for key, name in named if name and name.casefold() == "person"}
        if named and not labels:
            raise ValueError(
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

    def _box(self, item: Any, labels: Labels) -> PersonBox | Unread | None:  # noqa: ANN401
        try:
            label = labels.get(item["category_id"])
        except (KeyError, TypeError):
            return Unread("record", Reason.BROKEN_RECORD, "annotation without a category_id", _id_in(item, "image_id"))
        if label is None:
            return None
        try:
            return PersonBox(
                photo_id=identity(field(item, "image_id")),
                box_id=identity(field(item, "id")),
                bbox_xyxy_px=xyxy_of_xywh(field(item, "bbox")),
                labels=(label,),
                crowd=flag(item.get("iscrowd")),
                fake=flag(item.get("isfake")),
                reflected=flag(item.get("isreflected")),
            )
        except WrongFieldError as error:
            detail = f"annotation: {error}"
            return Unread("box", Reason.BROKEN_RECORD, detail, _id_in(item, "image_id"), _id_in(item, "id"))


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
