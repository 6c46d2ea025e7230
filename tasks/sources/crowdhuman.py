"""CrowdHuman: one JSON object per line and photo, with full, visible and head box of every person.

Format: https://www.crowdhuman.org/download.html. Boxes are `[x, y, width, height]` in pixels; a full box may reach
outside of the photo, since it is guessed where the body is hidden. The keys in `extra` are optional.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import FilePath

from storage.frozen import HOW
from storage.reasons import Reason
from tasks.photos.photos import Photos
from tasks.sources.base import Source
from tasks.sources.records import PersonBox, Photo, Records, Unread, WrongFieldError, field, identity, xyxy_of_xywh

_KEYS = {"full": "fbox", "visible": "vbox", "head": "hbox"}


class CrowdHumanSource(Source):
    """CrowdHuman: `annotation_train.odgt` with the folder `Images`."""

    homepage: ClassVar[str] = "https://www.crowdhuman.org"
    format: Literal["crowdhuman"] = "crowdhuman"
    annotations: Annotated[FilePath, HOW]
    """The ODGT file."""
    box: Literal["full", "visible", "head"] = "full"
    """Which box a person is cropped by; the full one may reach outside of the photo, and the crop clips it."""

    def annotation_files(self) -> list[Path]:
        """The ODGT file."""
        return [self.annotations]

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source."""
        with self.annotations.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.isspace():
                    yield from self._photo(line, f"{self.annotations.name}:{number}")

    def _photo(self, line: bytes, place: str) -> Iterator[Records]:
        try:
            record = json.loads(line)
            photo_id, boxes = identity(field(record, "ID")), field(record, "gtboxes")
            if not isinstance(boxes, list):
                raise WrongFieldError("gtboxes is no list")
        except (ValueError, RecursionError) as error:  # bad UTF-8, no JSON, or other fields
            yield Unread("record", Reason.BROKEN_RECORD, f"{place}: {error}")
            return
        yield Photo(photo_id, f"{photo_id}.jpg")
        for index, box in enumerate(boxes):
            try:
                yield self._box(photo_id, index, box)
            except WrongFieldError as error:
                yield Unread("box", Reason.BROKEN_RECORD, f"{place}: box {index}: {error}", photo_id, f"n{index}")

    def _box(self, photo_id: str, index: int, box: Any) -> PersonBox:  # noqa: ANN401
        tag, extra = field(box, "tag"), box.get("extra") or {}
        if tag not in ("person", "mask"):
            raise WrongFieldError(f"tag {tag!r} is neither person nor mask")
        if not isinstance(extra, dict):
            raise WrongFieldError("extra is no object")
        occluded = extra.get("occ")
        return PersonBox(
            photo_id=photo_id,
            box_id=identity(extra["box_id"]) if "box_id" in extra else f"n{index}",
            bbox_xyxy_px=xyxy_of_xywh(field(box, _KEYS[self.box])),
            visible_bbox_xyxy_px=xyxy_of_xywh(box["vbox"]) if "vbox" in box else None,
            head_bbox_xyxy_px=xyxy_of_xywh(box["hbox"]) if "hbox" in box else None,
            labels=(tag,),
            occluded=None if occluded is None else bool(occluded),
            ignore=tag == "mask" or extra.get("ignore") == 1,
        )
