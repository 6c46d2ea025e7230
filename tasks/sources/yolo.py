"""YOLO text labels in Ultralytics' layout: photos under `images`, one text file per photo under `labels`, a YAML file.

Format: https://docs.ultralytics.com/datasets/detect. A line is `class x_centre y_centre width height` in shares of the
upright photo, or a class and the corners of an outline, whose enclosing box is taken. A photo without a text file shows
nobody. The YAML file names the classes and where each split lies; its `path`, a folder of the machine that wrote it, is
passed over.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml

from storage.digest import digest
from storage.errors import InputError
from storage.frozen import HOW
from storage.reasons import Reason
from storage.rejection import Rejection
from tasks.images.photo_header import HeaderTooShortError, NotAnImageError, read_header
from tasks.photos.names import is_image, is_litter, stem_of
from tasks.photos.photos import Listed, Photos
from tasks.sources.annotation_file import AnnotationFile
from tasks.sources.base import Source
from tasks.sources.labels import PERSON_LABELS, Labels, is_person, no_person_label
from tasks.sources.records import PersonBox, Photo, Records, Unread

HEADER_BYTES = 1 << 16


class YoloSource(Source):
    """YOLO: `data.yaml` with a folder or archive that holds `images` and `labels`."""

    homepage: ClassVar[str] = "https://docs.ultralytics.com/datasets/detect"
    format: Literal["yolo"] = "yolo"
    annotations: Annotated[AnnotationFile, HOW]
    """The YAML file."""
    split: str = "train"
    """Which of the splits that the YAML file names is read."""
    labels: Labels = PERSON_LABELS
    """Names of the classes that are people, compared without case."""

    def annotation_files(self) -> list[AnnotationFile]:
        """The YAML file."""
        return [self.annotations]

    def what_is_read(self, photos: Photos) -> Any:  # noqa: ANN401
        """As in Source, with name, size and time of every file of labels."""
        listing = "0"
        for entry in photos.files():
            if isinstance(entry, Listed) and (is_image(entry.path) or entry.path.endswith(".txt")):
                listing = digest(listing, entry if entry.path.endswith(".txt") else entry.path)
        return super().what_is_read(photos), listing

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source; sorted folder by folder."""
        names, folders = self._described()
        people = {number: name for number, name in names.items() if is_person(name, self.labels)}
        if not people:
            raise InputError(no_person_label(self.annotations, self.labels, names.values()))
        for entry in photos.files():
            if isinstance(entry, Listed) and is_image(entry.path) and _is_below(entry.path, folders):
                if is_litter(entry.path):
                    yield Unread("record", Reason.NOT_A_PHOTO, entry.path)
                else:
                    yield from self._photo(entry.path, people, photos)

    def _described(self) -> tuple[dict[int, str], list[str]]:
        """Names of the classes by number, and the folders of the split.

        Raises:
            InputError: the YAML file says neither, or a list of files instead of folders.
        """
        try:
            document = yaml.safe_load(self.annotations.read_text("utf-8-sig"))
            names = document["names"]
            found = document[self.split]
        except (yaml.YAMLError, UnicodeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.annotations} is no YAML file of a dataset: {reason}") from error
        except KeyError as error:
            raise InputError(f"{self.annotations} has no {error.args[0]}: say in `split` which is read") from error
        numbered = dict(enumerate(names)) if isinstance(names, list) else names
        if not isinstance(numbered, dict):
            raise InputError(f"{self.annotations}: names is neither a list nor a table of classes")
        folders = [str(folder) for folder in (found if isinstance(found, list) else [found])]
        if any(folder.endswith(".txt") for folder in folders):
            raise InputError(f"{self.annotations}: {self.split} is a list of files, which is not read: name folders")
        cleaned = ["/".join(p for p in f.replace("\\", "/").split("/") if p not in ("", ".", "..")) for f in folders]
        return {int(number): str(name) for number, name in numbered.items()}, cleaned

    def _photo(self, path: str, people: dict[int, str], photos: Photos) -> Iterator[Records]:
        text = photos.read(_labels_of(path))
        lines = [] if isinstance(text, Rejection) else text.decode("utf-8-sig", "replace").splitlines()
        found: list[tuple[int, str, list[float]]] = []
        for number, line in enumerate(lines, 1):
            try:
                label, *shares = line.split() or ["-1"]
                kind = int(float(label))
                if kind in people:
                    found.append((number, people[kind], _corners([float(share) for share in shares])))
            except ValueError:
                yield Unread("record", Reason.BROKEN_RECORD, f"{_labels_of(path)}:{number}: {line[:80]}", path)
        if not found:
            yield Photo(path, path, boxes_refer_to="upright")
            return
        size = _upright_size(path, photos)
        if isinstance(size, Rejection):
            lost = Unread("photo", size.reason, size.detail or "", path, path=path, signature=photos.signature(path))
            yield lost
            yield from (lost._replace(item="box", box_id=str(number)) for number, _, _ in found)
            return
        width, height = size
        yield Photo(path, path, width, height, boxes_refer_to="upright")
        for number, label, (x_min, y_min, x_max, y_max) in found:
            bbox = x_min * width, y_min * height, x_max * width, y_max * height
            yield PersonBox(path, str(number), bbox, labels=(label,))


def _corners(shares: list[float]) -> list[float]:
    """x_min, y_min, x_max, y_max of a box (centre and size) or of an outline (three corners or more)."""
    if len(shares) in (4, 5):  # a fifth number is the confidence of a prediction
        x, y, width, height = shares[:4]
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if len(shares) >= 6 and len(shares) % 2 == 0:
        return [min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])]
    raise ValueError("neither a box nor an outline")


def _labels_of(path: str) -> str:
    """`labels/train/a.txt` of `images/train/a.jpg`: the last folder `images` is exchanged, as Ultralytics does."""
    folder, _, name = path.rpartition("/")
    head, images, tail = f"/{folder}/".rpartition("/images/")
    swapped = f"{head}/labels/{tail}" if images else f"/{folder}/"
    return f"{swapped}{stem_of(name)}.txt".lstrip("/")


def _is_below(path: str, folders: list[str]) -> bool:
    return any(f"/{folder}/" in f"/{path}" for folder in folders)


def _upright_size(path: str, photos: Photos) -> tuple[int, int] | Rejection:
    for data in (photos.start(path, HEADER_BYTES), photos.read(path)):
        if isinstance(data, Rejection):
            return data
        try:
            header = read_header(data)
        except HeaderTooShortError:
            continue
        except NotAnImageError as error:
            return Rejection(Reason.NOT_AN_IMAGE, detail=str(error))
        size = header.width_px, header.height_px
        return size[::-1] if header.is_turned else size
    return Rejection(Reason.TRUNCATED_IMAGE, detail="the header does not end")
