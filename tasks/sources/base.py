"""What every source has in common, whatever its format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import StringConstraints

from storage.frozen import HOW, Frozen
from tasks.photos.photos import Photos
from tasks.photos.places import PhotoPlaces
from tasks.sources.annotation_file import AnnotationFile
from tasks.sources.records import Records

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class Source(Frozen, ABC):
    """Where one set of photos and its annotations lie. Subclasses say how to read one format."""

    boxes_from: ClassVar[Literal["annotations", "detector"]] = "annotations"
    homepage: ClassVar[str]

    name: SourceName
    """Name in every table, file name and funnel; lower case."""
    photos: Annotated[PhotoPlaces, HOW]
    """Folders, archives (tar, tar.gz, zip), patterns such as `patch*.tar.gz`, folders of archives, or addresses of
    these in buckets (`s3://`, `gs://`, `az://`), one or several; nothing outside of them is ever read."""
    photos_missing: Annotated[Literal["fail", "skip"], HOW] = "fail"
    """Whether listed photos that are not there count as failures; 'skip' while a download goes on: the rest is worked
    on, the funnel counts them, and a later run takes them up."""
    exif_orientation: Literal["auto", "ignore", "apply", "apply_to_boxes"] = "auto"
    """How photos that are stored turned become upright, and whether their boxes turn with them. 'apply': the boxes
    refer to the upright photo; 'apply_to_boxes': they refer to the stored pixels and are turned with the photo;
    'ignore': photos are upright as they are stored, whatever EXIF says. 'auto' goes by what the format defines and by
    the annotated width and height, and rejects a turned photo of which neither says anything."""

    @abstractmethod
    def annotation_files(self) -> list[AnnotationFile]:
        """Every file whose content decides what `read` yields."""

    @abstractmethod
    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """Every photo and person box, streaming; what cannot be read is yielded as Unread, never raised.

        Args:
            scratch: an empty folder in which a reader may sort on disk; the caller removes it.
            photos: what lies at `self.photos`.

        Raises:
            ValueError: the annotations as a whole are not of this format.
        """

    def what_is_read(self, photos: Photos) -> Any:  # noqa: ANN401 - any JSON-like value
        """What decides the result of `read`, wherever it lies: options, names and digests of the annotation files."""
        return self.content(), [(file.name, file.sha256()) for file in self.annotation_files()]
