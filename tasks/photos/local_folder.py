"""Photos that lie in a folder of this machine. No link is followed out of it."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from storage.reasons import Reason
from tasks.images.rejection import Unusable
from tasks.photos.photos import MAX_FILE_BYTES, Listed, Signature, Unlisted


@dataclass(frozen=True)
class LocalFolder:
    """The photos below one folder."""

    folder: Path

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.folder)

    def read(self, path: str) -> bytes | Unusable:
        """See Photos; the photo's real place is below the folder, and it is a plain file."""
        return self._read(path, None)

    def start(self, path: str, num_bytes: int) -> bytes | Unusable:
        """See Photos."""
        return self._read(path, num_bytes)

    def _read(self, path: str, num_bytes: int | None) -> bytes | Unusable:
        try:
            handle = self._open(path)
            if handle is None:
                return Unusable(Reason.PATH_OUTSIDE_ROOT, detail=path)
        except FileNotFoundError:
            return Unusable(Reason.MISSING_FILE, detail=path)
        except ValueError:  # a NUL in the name
            return Unusable(Reason.PATH_OUTSIDE_ROOT, detail=repr(path))
        except OSError as error:
            return Unusable(Reason.UNREADABLE_FILE, detail=error.strerror)
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                return Unusable(Reason.UNREADABLE_FILE, detail="not a plain file")
            if facts.st_size > MAX_FILE_BYTES:
                return Unusable(Reason.UNREADABLE_FILE, facts.st_size, MAX_FILE_BYTES, "bytes")
            with open(handle, "rb", buffering=0, closefd=False) as file:
                data = file.read() if num_bytes is None else file.read(num_bytes)
        except OSError as error:
            return Unusable(Reason.UNREADABLE_FILE, detail=error.strerror)
        finally:
            os.close(handle)
        return data or Unusable(Reason.EMPTY_FILE)

    def _open(self, path: str) -> int | None:
        """A handle on the file, None where its real place is not below the folder."""
        flags = os.O_RDONLY | os.O_NONBLOCK  # a FIFO must not stop the run
        if "/" not in path and path not in ("", ".", ".."):
            with contextlib.suppress(OSError):  # no link, so it lies here; for what fails the long way finds the reason
                return os.open(f"{self._real_root}/{path}", flags | os.O_NOFOLLOW)
        real = os.path.realpath(f"{self._real_root}/{path}")
        if path.startswith("/") or not real.startswith(self._real_root.rstrip("/") + "/"):
            return None
        return os.open(real, flags)

    def signature(self, path: str) -> Signature | None:
        """[size in bytes, mtime in ns], and a 0 behind them where this user may not read the file."""
        place = self.folder / path
        try:
            facts = place.stat()
            readable = os.access(place, os.R_OK)
        except (OSError, ValueError):  # absent or not to be reached; a NUL in the name
            return None
        return [facts.st_size, facts.st_mtime_ns, *([] if readable else [0])]

    def reading(self, paths: Sequence[str]) -> AbstractContextManager[Callable[[str], bytes | Unusable]]:
        """See Photos; the operating system reads ahead by itself."""
        return nullcontext(self.read)

    def files(self) -> Iterator[Listed | Unlisted]:
        """See Photos.

        A link to a file or folder outside is refused. A link to a folder inside is passed over: what it shows is
        listed where it really lies, and no circle of links can be entered.
        """
        return self._walk("")

    def _walk(self, folder: str) -> Iterator[Listed | Unlisted]:
        try:
            with os.scandir(self.folder / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Unlisted(folder, Reason.UNREADABLE_FILE, error.strerror or str(error), is_folder=True)
            return
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = _is_folder(entry)
            if entry.is_symlink():
                if not f"{os.path.realpath(entry.path)}/".startswith(self._real_root.rstrip("/") + "/"):
                    yield Unlisted(path, Reason.PATH_OUTSIDE_ROOT, "symbolic link", is_folder)
                    continue
                if is_folder:
                    continue
            elif is_folder:
                yield from self._walk(path)
                continue
            yield Listed(path, _size_of(entry))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links
        return False


def _size_of(entry: "os.DirEntry[str]") -> int | None:
    try:
        return entry.stat().st_size
    except OSError:
        return None
