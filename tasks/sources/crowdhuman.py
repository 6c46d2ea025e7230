"""CrowdHuman: one JSON object per line and photo, with full, visible and head box of every person.

Format: https://www.crowdhuman.org/download.html. Boxes are `[x, y, width, height]` in pixels; a full box may reach
outside of the photo, since it is guessed where the body is hidden. The keys in `extra` are optional.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import xxhash

from storage.errors import InputError
from storage.frozen import HOW
from storage.reasons import Reason
from tasks.photos.photos import Photos
from tasks.sources.annotation_file import AnnotationFile, AnnotationFiles
from tasks.sources.base import Source
from tasks.sources.labels import Labels, is_person, no_person_label
from tasks.sources.recognise import expect_format
from tasks.sources.records import (
    PersonBox,
    Photo,
    Records,
    Unread,
    WrongFieldError,
    field,
    flags_of,
    identity,
    short,
    xyxy_of_xywh,
)

_MASK = "mask"
_KEYS = {"full": "fbox", "visible": "vbox", "head": "hbox"}


class CrowdHumanSource(Source):
    """CrowdHuman: `annotation_train.odgt` with the folder `Images`."""

    homepage: ClassVar[str] = "https://www.crowdhuman.org"
    format: Literal["crowdhuman"] = "crowdhuman"
    annotations: Annotated[AnnotationFiles, HOW]
    """The ODGT file, or several."""
    box: Literal["full", "visible", "head"] = "full"
    """Which box a person is cropped by; the full one may reach outside of the photo, and the crop clips it."""
    labels: Labels = ("person",)
    """Tags that are people, compared without case; a "mask" is a region to ignore, whatever stands here."""

    def annotation_files(self) -> list[AnnotationFile]:
        """The ODGT files."""
        return list(self.annotations)

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source."""
        for file in self.annotations:
            yield from self._read(file)

    def _read(self, file: AnnotationFile) -> Iterator[Records]:
        expect_format(file, self.format)
        tags: Counter[str] = Counter()
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.isspace():
                    yield from self._photo(line, f"{file.name}:{number}", tags)
        if tags and not any(tag == _MASK or is_person(tag, self.labels) for tag in tags):
            raise InputError(no_person_label(file, self.labels, tags.elements()))

    def _photo(self, line: bytes, place: str, tags: Counter[str]) -> Iterator[Records]:
        try:
            record = json.loads(line)
            photo_id, boxes = identity(field(record, "ID")), field(record, "gtboxes")
            if not isinstance(boxes, list):
                raise WrongFieldError("gtboxes is no list")
        except (ValueError, RecursionError) as error:  # bad UTF-8, no JSON, or other fields
            if isinstance(error, json.JSONDecodeError) and not line.endswith(b"\n"):
                yield Unread("record", Reason.ANNOTATIONS_CUT, f"{place}: {error}")
            else:
                yield Unread("photo", Reason.BROKEN_RECORD, f"{place}: {error}")  # a line is a photo
            return
        yield Photo(photo_id, f"{photo_id}.jpg", record=xxhash.xxh3_64_intdigest(line.strip()))
        for index, box in enumerate(boxes):
            try:
                tag = field(box, "tag")
                if not isinstance(tag, str):
                    raise WrongFieldError(f"tag {short(tag)} is no text")
                tags[tag] += 1
                if tag == _MASK or is_person(tag, self.labels):
                    person, odd = self._box(photo_id, index, box)
                    yield person
                    for name in odd:
                        detail = f"{place}: {name} is {short(box['extra'][name])}"
                        yield Unread("field", Reason.UNREADABLE_FIELD, detail, photo_id, person.box_id)
            except WrongFieldError as error:
                yield Unread("box", Reason.BROKEN_RECORD, f"{place}: box {index}: {error}", photo_id, f"n{index}")

    def _box(self, photo_id: str, index: int, box: dict[str, Any]) -> tuple[PersonBox, list[str]]:
        """A person, and which flags are no flags."""
        extra = box.get("extra") or {}
        if not isinstance(extra, dict):
            raise WrongFieldError("extra is no object")
        box_id = identity(extra["box_id"]) if "box_id" in extra else f"n{index}"
        flags, odd = flags_of(("occ", "ignore"), extra)
        person = PersonBox(
            photo_id=photo_id,
            box_id=box_id,
            bbox_xyxy_px=xyxy_of_xywh(field(box, _KEYS[self.box])),
            visible_bbox_xyxy_px=xyxy_of_xywh(box["vbox"]) if "vbox" in box else None,
            head_bbox_xyxy_px=xyxy_of_xywh(box["hbox"]) if "hbox" in box else None,
            labels=(box["tag"],),
            occluded=flags["occ"],
            ignore=box["tag"] == _MASK or flags["ignore"] is True,
        )
        return person, odd
