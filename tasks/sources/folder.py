"""A plain tree of photos without boxes, such as LSDIR: the detector finds the people."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from storage.digest import digest
from storage.reasons import Reason
from tasks.photos.names import is_image, is_litter
from tasks.photos.photos import Listed, Photos, Unlisted
from tasks.sources.annotation_file import AnnotationFile
from tasks.sources.base import Source
from tasks.sources.records import Photo, Records, Unread


class FolderSource(Source):
    """Every file below the photo folder that is named like a picture; a photo's id is its path there, suffix included.

    What is named otherwise is counted, and so is what macOS and Windows leave behind (`__MACOSX/._a.jpg`, `Thumbs.db`).
    A link to a file or folder outside is refused. A link to a folder inside is passed over: what it shows is listed
    where it really lies, and no circle of links can be entered.
    """

    boxes_from: ClassVar[Literal["annotations", "detector"]] = "detector"
    homepage: ClassVar[str] = "https://ofsoundof.github.io/lsdir-data"
    format: Literal["folder"] = "folder"
    exif_orientation: Literal["ignore", "apply"] = "apply"
    """'apply' here, since the boxes come from a detector that sees the upright photo."""

    def annotation_files(self) -> list[AnnotationFile]:
        """None: there are no annotations."""
        return []

    def what_is_read(self, photos: Photos) -> Any:  # noqa: ANN401
        """As in Source, with the names and sizes of all photos."""
        listing = "0"
        for entry in photos.files():
            record = _record(entry)
            size = entry.size_bytes if isinstance(entry, Listed) and isinstance(record, Photo) else None
            listing = digest(listing, repr(record), size)
        return super().what_is_read(photos), listing

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source; sorted folder by folder."""
        return map(_record, photos.files())


def _record(entry: Listed | Unlisted) -> Photo | Unread:
    """What a file is to this source."""
    shown = os.fsencode(entry.path).decode("utf-8", "backslashreplace")
    if isinstance(entry, Unlisted) and entry.is_folder:
        return Unread("record", entry.reason, f"folder {shown}: {entry.detail}")
    if not is_image(entry.path) or is_litter(entry.path):
        return Unread("record", Reason.NOT_A_PHOTO, shown)
    if isinstance(entry, Unlisted):
        return Unread("photo", entry.reason, entry.detail, photo_id=shown, path=shown)
    if shown != entry.path:  # Python marks bytes that are no UTF-8 with half surrogate pairs
        return Unread("photo", Reason.BROKEN_RECORD, f"file name is not UTF-8: {shown}", photo_id=shown)
    return Photo(entry.path, entry.path)
