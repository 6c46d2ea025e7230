"""PASCAL VOC 2007 to 2012: one XML file per photo.

Format: section 4.1 of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. Coordinates count
pixels from 1 and include the last one; those of 2011 and 2012 are partly fractions.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from xml.parsers import expat

from pydantic import DirectoryPath, FilePath

from storage.frozen import HOW
from storage.reasons import Reason
from tasks.photos.photos import Photos
from tasks.sources.base import Source
from tasks.sources.records import PersonBox, Photo, Records, Unread, WrongFieldError, side_px


class VocSource(Source):
    """PASCAL VOC: the folders `Annotations` and `JPEGImages`, optionally a list such as `ImageSets/Main/train.txt`."""

    homepage: ClassVar[str] = "http://host.robots.ox.ac.uk/pascal/VOC"
    format: Literal["voc"] = "voc"
    annotations: Annotated[DirectoryPath, HOW]
    """Folder with one XML file per photo."""
    image_set: Annotated[FilePath | None, HOW] = None
    """Text file with one photo per line, as name without suffix; all XML files where it is not given."""

    def annotation_files(self) -> list[Path]:
        """Every XML file that is read, and the image set."""
        files = [path for path in self._files() if path.is_file()]
        return [*files, self.image_set] if self.image_set else files

    def _files(self) -> list[Path]:
        if self.image_set is None:
            return sorted(self.annotations.glob("*.xml"))
        lines = self.image_set.read_text(encoding="utf-8", errors="replace").splitlines()
        # the sets of one class have a second column, 1 or -1
        names = dict.fromkeys(line.split()[0] for line in lines if line.strip())
        return [self.annotations / f"{name}.xml" for name in names if "/" not in name and "\0" not in name]

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source."""
        for path in self._files():
            try:
                root = _parse(path.read_bytes())
                photo = _photo(root, path.stem)
            except OSError as error:
                yield Unread("photo", Reason.BROKEN_RECORD, f"{path.name}: {error.strerror}", path.stem)
                continue
            except (expat.ExpatError, WrongFieldError) as error:
                yield Unread("photo", Reason.BROKEN_RECORD, f"{path.name}: {error}", path.stem)
                continue
            yield photo
            for index, item in enumerate(root.iterfind("object")):
                if (_text(item, "name") or "").casefold() == "person":
                    yield _box(item, path, str(index))


def _parse(data: bytes) -> ET.Element:
    """The root of an XML text without a document type: entities, which can grow without bound, need one."""

    def refuse(*_: object) -> None:
        raise WrongFieldError("a document type is not allowed")

    builder, parser = ET.TreeBuilder(), expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(data, True)
    return builder.close()


def _photo(root: ET.Element, photo_id: str) -> Photo:
    path = _text(root, "filename")
    if path is None:
        raise WrongFieldError("filename is missing")
    width, height = (_number(root, f"size/{name}") for name in ("width", "height"))
    return Photo(photo_id, path, side_px(width), side_px(height), author=_text(root, "owner/name"))


def _box(item: ET.Element, path: Path, box_id: str) -> PersonBox | Unread:
    try:
        x_min, y_min, x_max, y_max = (
            _required_number(item, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")
        )
        return PersonBox(
            photo_id=path.stem,
            box_id=box_id,
            bbox_xyxy_px=(x_min - 1, y_min - 1, x_max, y_max),
            labels=(_text(item, "name") or "",),
            pose=_text(item, "pose"),
            occluded=_flag(item, "occluded"),
            truncated=_flag(item, "truncated"),
            difficult=_flag(item, "difficult"),
        )
    except WrongFieldError as error:
        return Unread("box", Reason.BROKEN_RECORD, f"{path.name}: object {box_id}: {error}", path.stem, box_id)


def _text(element: ET.Element, name: str) -> str | None:
    """The text of a descendant; None where it is absent, empty or VOC's `?` for unknown."""
    found = (element.findtext(name) or "").strip()
    return None if found in ("", "?") else found


def _number(element: ET.Element, name: str) -> float | None:
    found = _text(element, name)
    if found is None:
        return None
    try:
        return float(found)
    except ValueError as error:
        raise WrongFieldError(f"{name} is {found[:40]!r}, no number") from error


def _required_number(element: ET.Element, name: str) -> float:
    number = _number(element, name)
    if number is None:
        raise WrongFieldError(f"{name} is missing")
    return number


def _flag(element: ET.Element, name: str) -> bool | None:
    flags: dict[str | None, bool | None] = {None: None, "0": False, "1": True}
    found = _text(element, name)
    if found not in flags:
        raise WrongFieldError(f"{name} is {found!r}, neither 0 nor 1")
    return flags[found]
