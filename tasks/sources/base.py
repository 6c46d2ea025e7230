"""What every source has in common, whatever its format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import DirectoryPath, StringConstraints

from storage.frozen import Frozen
from tasks.sources.records import Record

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class Source(Frozen):
    """Where one set of photos and its annotations lie. Subclasses say how to read one format."""

    boxes_from: ClassVar[Literal["annotations", "detector"]] = "annotations"
    homepage: ClassVar[str]

    name: SourceName
    """Name in every table, file name and funnel; lower case."""
    photos: DirectoryPath
    """Folder that holds the photos; nothing outside of it is ever read."""
    exif_orientation: Literal["ignore", "apply"] = "ignore"
    """'ignore' where the boxes refer to the stored pixels, 'apply' where they refer to the upright photo."""

    def annotation_files(self) -> list[Path]:
        """Every file whose content decides what `read` yields."""
        raise NotImplementedError

    def read(self) -> Iterator[Record]:
        """Every photo and person box, streaming; what cannot be read is yielded as Unread, never raised."""
        raise NotImplementedError
