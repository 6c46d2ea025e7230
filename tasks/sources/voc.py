"""PASCAL VOC 2007 to 2012: one XML file per photo.

Format: section 4.1 of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. Coordinates count
pixels from 1 and include the last one; those of 2011 and 2012 are partly fractions.
"""

import codecs
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal
from xml.parsers import expat

import xxhash
from pydantic import DirectoryPath, FilePath

from storage.errors import InputError
from storage.frozen import HOW
from storage.reasons import Reason
from tasks.photos.photos import Photos
from tasks.sources.base import Source
from tasks.sources.labels import PERSON_LABELS, Labels, is_person, no_person_label
from tasks.sources.recognise import expect_format
from tasks.sources.records import (
    PersonBox,
    Photo,
    Records,
    Unread,
    WrongFieldError,
    flags_of,
    leads_outside,
    short,
    size_px,
)


class VocSource(Source):
    """PASCAL VOC: the folders `Annotations` and `JPEGImages`, optionally a list such as `ImageSets/Main/train.txt`."""

    homepage: ClassVar[str] = "http://host.robots.ox.ac.uk/pascal/VOC"
    format: Literal["voc"] = "voc"
    annotations: Annotated[DirectoryPath, HOW]
    """Folder with one XML file per photo."""
    image_set: Annotated[FilePath | None, HOW] = None
    """Text file with one photo per line, as name or path, with or without suffix; all XML files where it is not
    given."""
    labels: Labels = PERSON_LABELS
    """Names of the objects that are people, compared without case."""

    def annotation_files(self) -> list[Path]:
        """Every XML file that is read, and the image set."""
        files = [entry for entry in self._entries() if isinstance(entry, Path) and entry.is_file()]
        return [*files, self.image_set] if self.image_set else files

    def _entries(self) -> list[Path | Unread]:
        """The XML files to read, and what can be none of them."""
        if self.image_set is None:
            files = sorted(self.annotations.glob("*.[xX][mM][lL]"))
            return [
                Unread("record", Reason.NOT_A_PHOTO, path.name) if path.name.startswith("._") else path
                for path in files
            ]
        listed: dict[Path, dict[str, None]] = {}
        refused: list[Path | Unread] = []
        for line in filter(None, map(str.strip, self.image_set.read_text("utf-8-sig", "replace").splitlines())):
            path, name = self._listed(line)
            if leads_outside(name):
                refused.append(Unread("photo", Reason.PATH_OUTSIDE_ROOT, f"{self.image_set.name}: {line}", name))
            else:
                listed.setdefault(path, {})[name] = None
        for path, names in listed.items():
            if len(names) > 1:
                detail = f"{path.name} would be the annotation of each"
                refused += [Unread("photo", Reason.CONTESTED_PATH, detail, name) for name in names]
        return [*refused, *(path for path, names in listed.items() if len(names) == 1)]

    def _listed(self, line: str) -> tuple[Path, str]:
        """The XML file of a line in an image set, and the name that stands there."""
        # the sets of one class have a second column, 1 or -1; other people's lists have paths and suffixes
        name = line if (self.annotations / f"{line}.xml").is_file() else line.split()[0]
        for stem in (name, _IMAGE_SUFFIX.sub("", name), _IMAGE_SUFFIX.sub("", re.split(r"[/\\]", name)[-1])):
            path = self.annotations / f"{stem}.xml"
            if not leads_outside(stem) and path.is_file():
                return path, name
        return self.annotations / f"{name}.xml", name

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source."""
        entries = self._entries()
        if not entries:
            for path in sorted(path for path in self.annotations.iterdir() if path.is_file())[:1]:
                expect_format(path, self.format)
        labels: Counter[str] = Counter()
        for entry in entries:
            if isinstance(entry, Unread):
                yield entry
            else:
                yield from self._photo(entry, labels, photos)
        if labels and not any(is_person(label, self.labels) for label in labels):
            raise InputError(no_person_label(self.annotations, self.labels, labels.elements()))

    def _photo(self, path: Path, labels: Counter[str], photos: Photos) -> Iterator[Records]:
        photo_id = path.relative_to(self.annotations).with_suffix("").as_posix()
        seen: list[ET.Element] = []
        try:
            data = path.read_bytes()
            root = _parse(data, seen)
            if root.tag != "annotation":
                raise WrongFieldError(f"the document is <{root.tag[:40]}>, not <annotation>")
        except OSError as error:
            yield Unread("photo", Reason.BROKEN_RECORD, f"{path.name}: {error.strerror}", photo_id)
            return
        except (expat.ExpatError, LookupError, UnicodeError, WrongFieldError) as error:
            is_cut = isinstance(error, expat.ExpatError) and error.code in _CUT
            reason = Reason.ANNOTATIONS_CUT if is_cut else Reason.BROKEN_RECORD
            yield Unread("photo", reason, f"{path.name}: {error}", photo_id)
            for index, item in enumerate(seen):  # what stands before the fault
                if is_person(_text(item, "name"), self.labels):
                    yield Unread("box", reason, f"{path.name}: {error}", photo_id, str(index))
            return
        width, height, odd = _size_px(root)
        if odd:
            yield Unread("field", Reason.UNREADABLE_FIELD, f"{path.name}: {odd}", photo_id)
        yield Photo(
            photo_id,
            _photo_path(path.stem, _text(root, "filename"), photos),
            width,
            height,
            author=_text(root, "owner/name"),
            record=xxhash.xxh3_64_intdigest(data),
        )
        for index, item in enumerate(root.iterfind("object")):
            name = _text(item, "name")
            labels[name or "?"] += 1
            if is_person(name, self.labels):
                yield from _box(item, path, photo_id, str(index))
            elif name is None or _NOT_DECODED in name:
                detail = f"{path.name}: object {index} has no readable name"
                yield Unread("record", Reason.BROKEN_RECORD, detail, photo_id, str(index))


_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|jpe|jfif|png|bmp|webp|tiff?|xml)$", re.IGNORECASE)
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9._-]+)""")
_NOT_DECODED = "\ufffd"
_CUT = {
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
}
"""Errors of a text that ends before its last tag."""


def _parse(data: bytes, seen: list[ET.Element]) -> ET.Element:
    """The root of an XML text without a document type: entities, which can grow without bound, need one.

    Every complete `object` is put into `seen`, also where the text breaks off behind it.
    """

    def refuse(*_: object) -> None:
        raise WrongFieldError("a document type is not allowed")

    def end(tag: str) -> None:
        element = builder.end(tag)
        if tag == "object":
            seen.append(element)

    builder, parser = ET.TreeBuilder(), expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.Parse(_decoded(data).encode(), True)
    return builder.close()


def _decoded(data: bytes) -> str:
    """An XML text, from any encoding that Python knows; bytes that are none of its characters become U+FFFD.

    Expat itself knows four encodings. LookupError: nobody knows the declared one.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    declared = _DECLARED.match(data)
    encoding = declared[1].decode() if declared else "utf-8"
    if encoding.lower().startswith(("utf-8", "utf8", "utf-16", "utf16", "ucs")):  # read as bytes, so not 16 bits wide
        encoding = "utf-8-sig"
    return data.decode(encoding, "replace")


def _photo_path(stem: str, file_name: str | None, photos: Photos) -> str:
    """Where the photo lies: it is named like its XML file; `filename`, wrong in many sets, counts where it is not."""
    own = f"{stem}.jpg"
    if file_name is None or file_name == stem:
        return own
    if PurePosixPath(file_name).stem == stem:
        return file_name
    return file_name if photos.signature(own) is None and photos.signature(file_name) is not None else own


def _size_px(root: ET.Element) -> tuple[int | None, int | None, str | None]:
    width, height = (_text(root, f"size/{name}") for name in ("width", "height"))
    try:
        return size_px(*(None if side is None else float(side) for side in (width, height)))
    except ValueError:
        return None, None, f"size is {short(width)} x {short(height)}"


def _box(item: ET.Element, path: Path, photo_id: str, box_id: str) -> Iterator[PersonBox | Unread]:
    place = f"{path.name}: object {box_id}"
    texts = {name: _text(item, name) for name in ("occluded", "truncated", "difficult")}
    flags, odd = flags_of(texts, texts)
    try:
        x_min, y_min, x_max, y_max = (_number(item, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax"))
    except WrongFieldError as error:
        yield Unread("box", Reason.BROKEN_RECORD, f"{place}: {error}", photo_id, box_id)
        return
    yield PersonBox(
        photo_id=photo_id,
        box_id=box_id,
        bbox_xyxy_px=(x_min - 1, y_min - 1, x_max, y_max),
        labels=(_text(item, "name") or "",),
        pose=_text(item, "pose"),
        occluded=flags["occluded"],
        truncated=flags["truncated"],
        difficult=flags["difficult"],
    )
    for name in odd:
        yield Unread("field", Reason.UNREADABLE_FIELD, f"{place}: {name} is {short(texts[name])}", photo_id, box_id)


def _text(element: ET.Element, name: str) -> str | None:
    """The text of a descendant; None where it is absent, empty or VOC's `?` for unknown."""
    found = (element.findtext(name) or "").strip()
    return None if found in ("", "?") else found


def _number(element: ET.Element, name: str) -> float:
    found = _text(element, name)
    if found is None:
        raise WrongFieldError(f"{name} is missing")
    try:
        return float(found)
    except ValueError as error:
        raise WrongFieldError(f"{name} is {found[:40]!r}, no number") from error
