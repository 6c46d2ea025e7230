"""PASCAL VOC 2007 to 2012: one XML file per photo.

Format: section 4.1 of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. Coordinates count
pixels from 1 and include the last one; those of 2011 and 2012 are partly fractions.
"""

import codecs
import posixpath
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal
from xml.parsers import expat

import xxhash

from storage.digest import digest
from storage.errors import InputError
from storage.frozen import HOW
from storage.reasons import Reason
from tasks.photos.names import is_litter
from tasks.photos.photos import Listed, Photos
from tasks.photos.places import PhotoPlaces
from tasks.sources.annotation_file import AnnotationFile
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
    annotations: Annotated[PhotoPlaces, HOW]
    """Folder with one XML file per photo; or an archive, or an address, as with `photos`."""
    image_set: Annotated[AnnotationFile | None, HOW] = None
    """Text file with one photo per line, as name or path, with or without suffix; all XML files where it is not
    given."""
    labels: Labels = PERSON_LABELS
    """Names of the objects that are people, compared without case."""

    def annotation_files(self) -> list[AnnotationFile]:
        """The image set; the XML files are too many to be read for their digests."""
        return [self.image_set] if self.image_set else []

    def what_is_read(self, photos: Photos) -> Any:  # noqa: ANN401
        """As in Source, with name, size and time of every XML file."""
        listing = "0"
        for entry in photos.beside(self.annotations).files():
            if isinstance(entry, Listed) and entry.path.lower().endswith(".xml"):
                listing = digest(listing, entry)
        return super().what_is_read(photos), listing

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source."""
        files = _XmlFiles(photos.beside(self.annotations), is_folder=Path(self.annotations[0]).is_dir())
        if not files.path_of:
            for path in sorted(path for path in Path(self.annotations[0]).glob("*") if path.is_file())[:1]:
                expect_format(AnnotationFile(str(path)), self.format)
            raise InputError(f"{', '.join(self.annotations)} holds no XML file, so it is no {self.format} source")
        labels: Counter[str] = Counter()
        for entry in self._entries(files):
            if isinstance(entry, Unread):
                yield entry
            else:
                yield from self._photo(entry, files, labels, photos)
        if labels and not any(is_person(label, self.labels) for label in labels):
            raise InputError(no_person_label(", ".join(self.annotations), self.labels, labels.elements()))

    def _entries(self, files: "_XmlFiles") -> list[str | Unread]:
        """The photo ids whose XML files are read, and what can be none of them."""
        if self.image_set is None:
            return [*files.litter, *files.path_of]
        listed: dict[str, dict[str, None]] = {}
        refused: list[str | Unread] = []
        for line in filter(None, map(str.strip, self.image_set.read_text("utf-8-sig", "replace").splitlines())):
            photo_id, name = _listed(line, files)
            if leads_outside(name):
                refused.append(Unread("photo", Reason.PATH_OUTSIDE_ROOT, f"{self.image_set.name}: {line}", name))
            else:
                listed.setdefault(photo_id, {})[name] = None
        for photo_id, names in listed.items():
            if len(names) > 1:
                detail = f"{photo_id}.xml would be the annotation of each"
                refused += [Unread("photo", Reason.CONTESTED_PATH, detail, name) for name in names]
        return [*refused, *(photo_id for photo_id, names in listed.items() if len(names) == 1)]

    def _photo(self, photo_id: str, files: "_XmlFiles", labels: Counter[str], photos: Photos) -> Iterator[Records]:
        path = PurePosixPath(f"{photo_id}.xml")
        seen: list[ET.Element] = []
        try:
            data = files.read(photo_id)
            root = _parse(data, seen)
            if root.tag != "annotation":
                raise WrongFieldError(f"the document is <{root.tag[:40]}>, not <annotation>")
        except UnreadableXmlError as error:
            yield Unread("photo", Reason.BROKEN_RECORD, f"{path.name}: {error}", photo_id)
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


class UnreadableXmlError(Exception):
    """An XML file is not there or cannot be read."""


class _XmlFiles:
    """The XML files of a source, by the id of their photo: their path without suffix, below the folder of all."""

    def __init__(self, files: Photos, is_folder: bool) -> None:
        paths = [entry.path for entry in files.files() if isinstance(entry, Listed)]
        xml = [path for path in paths if path.lower().endswith(".xml")]
        self.litter = [Unread("record", Reason.NOT_A_PHOTO, path) for path in xml if is_litter(path)]
        kept = [path for path in xml if not is_litter(path)]
        folder = "" if is_folder or not kept else _common_folder(kept)
        self._files = files
        self.path_of = {path[len(folder) : -len(".xml")]: path for path in kept}

    def read(self, photo_id: str) -> bytes:
        """The bytes of the file that belongs to a photo."""
        data = self._files.read(self.path_of.get(photo_id, f"{photo_id}.xml"))
        if isinstance(data, bytes):
            return data
        raise UnreadableXmlError(data.detail if data.reason is Reason.UNREADABLE_FILE else data.reason.sentence)


def _common_folder(paths: Sequence[str]) -> str:
    """The folder in which all paths lie, with a slash behind it; empty where there is none."""
    common = posixpath.commonpath([posixpath.dirname(min(paths)), posixpath.dirname(max(paths))])
    return f"{common}/" if common else ""


def _listed(line: str, files: _XmlFiles) -> tuple[str, str]:
    """The photo of a line in an image set, and the name that stands there."""
    # the sets of one class have a second column, 1 or -1; other people's lists have paths and suffixes
    name = line if line in files.path_of else line.split()[0]
    for stem in (name, _IMAGE_SUFFIX.sub("", name), _IMAGE_SUFFIX.sub("", re.split(r"[/\\]", name)[-1])):
        if not leads_outside(stem) and stem in files.path_of:
            return stem, name
    return name, name


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


def _box(item: ET.Element, path: PurePosixPath, photo_id: str, box_id: str) -> Iterator[PersonBox | Unread]:
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
