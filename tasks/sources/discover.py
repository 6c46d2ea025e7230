"""Which sources a folder holds: looks at names, at beginnings of files, and where the first photos of each lie.

Layouts as datasets unpack to and annotation tools export: COCO and its lookalikes (CVAT, Roboflow, Label Studio),
Objects365, CrowdHuman, Open Images, VOC, YOLO, or photos alone. Nothing is read to its end.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tasks.photos.names import ARCHIVE_SUFFIXES, is_image, is_litter
from tasks.sources.recognise import recognised

MAX_DEPTH = 5
MAX_ENTRIES = 2_000
"""Of one folder are looked at: enough to tell what lies in it."""
BEGINNING_BYTES = 1 << 20
NUM_NAMES = 20
"""Photos of an annotation file that are looked for."""

_NOT_BOXES = ("captions_", "image_info_", "panoptic_", "stuff_", "person_keypoints_")
"""COCO's other files of the same shape; keypoints are of the same people as the instances."""
_YOLO_LINE = re.compile(r"\d+( -?[0-9.]+(e-?\d+)?){4,}\s*$")


@dataclass
class _Contents:
    """What lies in a folder tree, by what it may be."""

    photo_folders: dict[Path, list[str]] = field(default_factory=dict)  # with some of their photos' names
    files: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class FoundSource:
    """One source as a configuration names it."""

    values: dict[str, str]  # format, name, photos, and what else the format wants
    note: str = ""  # what a reader of the configuration should know


def find_sources(folder: Path) -> list[FoundSource]:
    """Every source in a folder, in the order of their annotation files; photos alone are one for the detector."""
    contents = _contents(folder)
    found = [*_json(contents, folder), *_odgt(contents, folder), *_open_images(contents, folder)]
    found += [*_voc(contents, folder), *_yolo(contents)]
    if not found and (contents.photo_folders or contents.archives):
        found = [_photos_alone(contents, folder)]
    return _with_own_names(found)


def _contents(folder: Path) -> _Contents:
    contents = _Contents()
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not is_litter(name))
        if len(here.relative_to(folder).parts) >= MAX_DEPTH:
            folders.clear()
        photos = [name for name in files[:MAX_ENTRIES] if is_image(name) and not is_litter(name)]
        if photos:
            contents.photo_folders[here] = photos
        for name in sorted(files)[:MAX_ENTRIES]:
            if name.lower().endswith(ARCHIVE_SUFFIXES):
                contents.archives.append(here / name)
            elif not is_image(name) and not is_litter(name):
                contents.files.append(here / name)
    return contents


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING_BYTES)
    except OSError:
        return b""


def _json(contents: _Contents, folder: Path) -> Iterator[FoundSource]:
    for path in _with_suffix(contents, ".json"):
        text = _beginning(path)
        if recognised(text) != "coco" or path.name.startswith(_NOT_BOXES):
            continue
        names = [name.decode("utf-8", "replace") for name in re.findall(rb'"file_name"\s*:\s*"([^"]+)"', text)]
        objects365 = "objects365" in path.name or "zhiyuan" in path.name or any("objects365_v" in n for n in names)
        photos = _photos_of(names[:NUM_NAMES], path, contents, folder)
        yield _source("objects365" if objects365 else "coco", path, photos, annotations=path)


def _odgt(contents: _Contents, folder: Path) -> Iterator[FoundSource]:
    for path in _with_suffix(contents, ".odgt"):
        ids = re.findall(rb'"ID"\s*:\s*"([^"]+)"', _beginning(path))
        photos = _photos_of([f"{i.decode('utf-8', 'replace')}.jpg" for i in ids[:NUM_NAMES]], path, contents, folder)
        yield _source("crowdhuman", path, photos, annotations=path)


def _open_images(contents: _Contents, folder: Path) -> Iterator[FoundSource]:
    headers = {path: _beginning(path).partition(b"\n")[0] for path in _with_suffix(contents, ".csv")}
    classes = [path for path, header in headers.items() if re.match(rb"(\xef\xbb\xbf)?\"?(/m/|LabelName)", header)]
    listings = [path for path, header in headers.items() if b"OriginalURL" in header or b"Rotation" in header]
    for path, header in headers.items():
        if b"XMin" not in header or not classes:
            continue
        ids = [line.partition(b",")[0] for line in _beginning(path).splitlines()[1 : NUM_NAMES + 1]]
        names = [f"{i.decode('utf-8', 'replace').strip(chr(34))}.jpg" for i in ids]
        extra = {"classes": _likest(path, classes)}
        if listings:
            extra["image_ids"] = _likest(path, listings)
        yield _source("open_images", path, _photos_of(names, path, contents, folder), "", boxes=path, **extra)


def _voc(contents: _Contents, folder: Path) -> Iterator[FoundSource]:
    for place in sorted({path.parent for path in _with_suffix(contents, ".xml")}):
        files = [path for path in contents.files if path.parent == place and path.suffix == ".xml"]
        if recognised(_beginning(files[0])) != "voc":
            continue
        names = [f"{path.stem}.jpg" for path in files[:NUM_NAMES]]
        yield _source("voc", place, _photos_of(names, place / "x", contents, folder), annotations=place)


def _yolo(contents: _Contents) -> Iterator[FoundSource]:
    for path in [*_with_suffix(contents, ".yaml"), *_with_suffix(contents, ".yml")]:
        try:
            document = yaml.safe_load(_beginning(path))
        except (yaml.YAMLError, ValueError):
            continue
        if isinstance(document, dict) and "names" in document:
            for split in ("train", "val", "test"):
                if document.get(split):
                    found = _source("yolo", Path(split), path.parent, annotations=path)
                    yield FoundSource({**found.values, "split": split})


def _photos_alone(contents: _Contents, folder: Path) -> FoundSource:
    note = "no boxes were found: the detector finds the people, and its weights are downloaded once"
    if not contents.photo_folders:
        note += "; annotations that lie in an archive are not looked at here"
    if any(_is_yolo(path) for path in _with_suffix(contents, ".txt")[:NUM_NAMES]):
        note = (
            "YOLO labels lie here without the YAML file that names their classes: the detector finds the people instead"
        )
    return _source("folder", folder, folder, note=note)


def _is_yolo(path: Path) -> bool:
    lines = _beginning(path).decode("utf-8", "replace").splitlines()
    return bool(lines) and all(_YOLO_LINE.match(line) for line in lines)


def _with_suffix(contents: _Contents, suffix: str) -> list[Path]:
    return [path for path in contents.files if path.suffix.lower() == suffix]


def _photos_of(names: Iterable[str], annotations: Path, contents: _Contents, folder: Path) -> Path:
    """Where the photos of an annotation file lie: the folder with most of them, else the likest archive or folder."""
    names = [name.replace("\\", "/") for name in names]
    candidates = {place for photos in contents.photo_folders for place in (photos, *photos.parents)}
    inside = sorted(place for place in candidates if place == folder or folder in place.parents)
    held = {place: sum((place / name).is_file() for name in names) for place in inside}
    if held and max(held.values()):
        return max(inside, key=lambda place: (held[place], _num_common(place, annotations)))
    stems = {Path(name).stem for name in names}
    by_stem = {
        place: sum(Path(photo).stem in stems for photo in found) for place, found in contents.photo_folders.items()
    }
    if by_stem and max(by_stem.values()):
        return max(by_stem, key=lambda place: (by_stem[place], _num_common(place, annotations)))
    if not contents.photo_folders and contents.archives:
        return _archives(annotations, contents.archives)
    return folder


def _num_common(place: Path, annotations: Path) -> int:
    """How many folders two paths share: of two copies of the photos the one beside the annotations is meant."""
    return len(Path(os.path.commonpath([place, annotations])).parts)


def _archives(annotations: Path, archives: list[Path]) -> Path:
    """The archive with the likest name, or the folder of all that are equally like."""
    best = _likest(annotations, archives)
    equal = [path for path in archives if _num_words(annotations, path) == _num_words(annotations, best)]
    return best if len(equal) == 1 else best.parent


def _likest(path: Path, others: list[Path]) -> Path:
    """The path that shares most words, such as `train` or `2017`, with another one's name; the first of equals."""
    return max(others, key=lambda other: _num_words(path, other))


def _num_words(path: Path, other: Path) -> int:
    one, two = (set(re.findall(r"[a-z]+|\d+", place.name.lower())) for place in (path, other))
    return len(one & two)


def _source(kind: str, named_after: Path, photos: Path, note: str = "", **files: Path) -> FoundSource:
    plain = ("annotations", "annotation", "labels", "result", "_annotations.coco")
    stem = named_after.parent.name if named_after.stem.lower() in plain else named_after.stem
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or kind
    paths = {key: str(path) for key, path in files.items()}
    return FoundSource({"format": kind, "name": name, "photos": str(photos), **paths}, note)


def _with_own_names(found: list[FoundSource]) -> list[FoundSource]:
    """The same, numbered where two would have one name."""
    taken: dict[str, int] = {}
    own = []
    for source in found:
        name = source.values["name"]
        taken[name] = taken.get(name, 0) + 1
        numbered = name if taken[name] == 1 else f"{name}-{taken[name]}"
        own.append(FoundSource({**source.values, "name": numbered}, source.note))
    return own
