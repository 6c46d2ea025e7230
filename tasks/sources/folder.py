"""A plain tree of photos without boxes, such as LSDIR: the detector finds the people."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from storage.digest import digest
from storage.reasons import Reason
from tasks.sources.base import Source
from tasks.sources.records import Photo, Records, Unread

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class FolderSource(Source):
    """Every JPEG, PNG and WebP file below the photo folder; a photo's id is its path there, suffix included.

    A link to a file or folder outside is refused. A link to a folder inside is passed over: what it shows is listed
    where it really lies, and no circle of links can be entered.
    """

    boxes_from: ClassVar[Literal["annotations", "detector"]] = "detector"
    homepage: ClassVar[str] = "https://ofsoundof.github.io/lsdir-data"
    format: Literal["folder"] = "folder"
    exif_orientation: Literal["ignore", "apply"] = "apply"
    """'apply' here, since the boxes come from a detector that sees the upright photo."""

    def annotation_files(self) -> list[Path]:
        """None: there are no annotations."""
        return []

    def content(self) -> Any:  # noqa: ANN401
        """As in Source, with the names and sizes of all photos."""
        listing = "0"
        for record in self.read(self.photos):
            size = _size_of(self.photos / record.path) if isinstance(record, Photo) else None
            listing = digest(listing, repr(record), size)
        return super().content(), listing

    def read(self, scratch: Path) -> Iterator[Records]:
        """See Source; sorted folder by folder."""
        return self._walk("", os.path.realpath(self.photos))

    def _walk(self, folder: str, real_root: str) -> Iterator[Records]:
        try:
            with os.scandir(self.photos / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Unread("record", Reason.UNREADABLE_FILE, f"folder {_shown(folder)}: {error.strerror}")
            return
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_photo = entry.name.lower().endswith(SUFFIXES)
            if entry.is_symlink():
                if _leads_outside(entry.path, real_root):
                    if is_photo or entry.is_dir():
                        yield _refused(path, is_photo)
                    continue
                if _is_folder(entry):
                    continue
            elif entry.is_dir():
                yield from self._walk(path, real_root)
                continue
            if is_photo:
                yield Photo(path, path) if _is_text(path) else _unnameable(path)


def _leads_outside(path: str, real_root: str) -> bool:
    return not f"{os.path.realpath(path)}/".startswith(real_root.rstrip("/") + "/")


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links
        return False


def _refused(path: str, is_photo: bool) -> Unread:
    shown = _shown(path)
    if is_photo:
        return Unread("photo", Reason.PATH_OUTSIDE_ROOT, "symbolic link", photo_id=shown, path=shown)
    return Unread("record", Reason.PATH_OUTSIDE_ROOT, f"folder {shown} is a symbolic link")


def _unnameable(path: str) -> Unread:
    return Unread("photo", Reason.BROKEN_RECORD, f"file name is not UTF-8: {_shown(path)}", photo_id=_shown(path))


def _is_text(path: str) -> bool:
    """Whether a file name is UTF-8; Python marks other bytes with half surrogate pairs."""
    return path.isascii() or _shown(path) == path


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
