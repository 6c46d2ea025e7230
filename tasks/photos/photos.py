"""One source's photos, wherever they lie: what every kind of place can do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from storage.reasons import Reason
from storage.rejection import Rejection

Signature = list[int | str]
"""What tells one file from another under the same name without reading it, such as [size in bytes, mtime in ns]."""


MAX_FILE_BYTES = 1 << 29
"""No photo is larger than 512 MiB; what claims to be would fill the memory before its header is read."""


class Listed(NamedTuple):
    """A file that lies there, whatever it is."""

    path: str
    size_bytes: int | None
    stamp: str = ""  # changes with the bytes


class Unlisted(NamedTuple):
    """A file or folder that cannot be named or looked into."""

    path: str
    reason: Reason
    detail: str
    is_folder: bool


Taken = tuple[bytes | Rejection, Signature | None]
"""What was read, with its signature at that moment where there is one."""


class Photos(Protocol):
    """The photos of one source. Paths are those that the source lists; where each lies is found out here.

    Small when pickled; what is open stays in its process. Nothing outside of the configured places is ever read.
    """

    def read(self, path: str) -> bytes | Rejection:
        """The bytes of a photo, or why there are none."""

    def start(self, path: str, num_bytes: int) -> bytes | Rejection:
        """The first `num_bytes` of a photo, or all of them where that is as cheap."""

    def where(self, path: str) -> str | None:
        """Names the file that a listed path means, or None where it means none; two paths may mean the same."""

    def signature(self, path: str) -> Signature | None:
        """What changes when the photo does, or None where it is not there."""

    def reading(self, paths: Sequence[str]) -> AbstractContextManager[Callable[[str], bytes | Rejection]]:
        """`read` for photos that will be asked for in this order, some of them perhaps never; it may read ahead."""

    def taken(self) -> dict[str, Signature]:
        """Path → signature and, behind it, a digest of the bytes of what was read here since this was last asked."""

    def is_as_taken(self, path: str, taken: Signature, thoroughly: bool) -> bool:
        """Whether a photo is still what it was when `taken` was noted.

        By its signature, where that is known without asking for each photo over a network; `thoroughly` reads it again
        wherever it lies.
        """

    def beside(self, places: tuple[str, ...]) -> "Photos":
        """Other files of the same run, read in the same way."""

    def files(self) -> Iterator[Listed | Unlisted]:
        """Every file that lies there, folder by folder, each sorted by name."""
