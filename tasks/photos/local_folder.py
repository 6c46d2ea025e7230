"""Photos that lie in a folder of this machine. No link is followed out of it."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from storage.reasons import Reason
from storage.rejection import Rejection
from tasks.photos.name_table import Entry, NameTable, write_table
from tasks.photos.names import Parts, is_image, parts_of
from tasks.photos.photos import MAX_FILE_BYTES, Listed, Signature, Taken, Unlisted


@dataclass(frozen=True)
class LocalFolder:
    """The photos below one folder."""

    folder: Path

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.folder)

    is_remote = False

    is_slow_to_ask = False

    def read(self, entry: Entry, num_bytes: int | None = None) -> Taken:
        """The bytes of a file that was found here, with their signature."""
        found = self.read_exactly(entry["path"], num_bytes)
        return (Rejection(Reason.MISSING_FILE, detail=entry["path"]), None) if found is None else found

    def read_exactly(self, path: str, num_bytes: int | None = None) -> Taken | None:
        """The bytes of the file of exactly this path, or the first `num_bytes` of them; None where there is none.

        Its real place is below the folder, and it is a plain file.
        """
        if path.startswith("/"):
            return None
        try:
            handle = self._open(path)
            if handle is None:
                return Rejection(Reason.PATH_OUTSIDE_ROOT, detail=path), None
        except FileNotFoundError:
            return None
        except ValueError:  # a NUL in the name
            return Rejection(Reason.PATH_OUTSIDE_ROOT, detail=repr(path)), None
        except OSError as error:
            return Rejection(Reason.UNREADABLE_FILE, detail=error.strerror), None
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                return Rejection(Reason.UNREADABLE_FILE, detail="not a plain file"), None
            if facts.st_size > MAX_FILE_BYTES:
                return Rejection(Reason.UNREADABLE_FILE, facts.st_size, MAX_FILE_BYTES, "bytes"), None
            with open(handle, "rb", buffering=0, closefd=False) as file:
                data = file.read() if num_bytes is None else file.read(num_bytes)
        except OSError as error:
            return Rejection(Reason.UNREADABLE_FILE, detail=error.strerror), None
        finally:
            os.close(handle)
        return data or Rejection(Reason.EMPTY_FILE), [facts.st_size, facts.st_mtime_ns]

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

    def at_path(self, path: str) -> Entry | None:
        """What lies at exactly this path, if anything does."""
        try:
            is_inside = not path.startswith("/") and parts_of(path) is not None
            exists = is_inside and (self.folder / path).exists()
        except (OSError, ValueError):  # not to be reached; a NUL in the name
            return None
        return {"path": path} if exists else None

    def find(self, listed: Parts) -> list[Entry]:
        """The files that a listed name may mean."""
        return self._table.find(listed)

    @cached_property
    def _table(self) -> NameTable:
        with tempfile.NamedTemporaryFile(suffix=".arrow") as file:  # the map outlives the name
            paths = (entry.path for entry in self.listing() if isinstance(entry, Listed))
            write_table(Path(file.name), (_entry(path) for path in paths if is_image(path) and _is_text(path)))
            return NameTable(Path(file.name))

    def signature(self, entry: Entry) -> Signature | None:
        """[size in bytes, mtime in ns], and a 0 behind them where this user may not read the file."""
        place = self.folder / entry["path"]
        try:
            facts = place.stat()
            readable = os.access(place, os.R_OK, effective_ids=True)
        except (OSError, ValueError):  # gone, or not to be reached
            return None
        return [facts.st_size, facts.st_mtime_ns, *([] if readable else [0])]

    def __getstate__(self) -> Path:
        return self.folder

    def __setstate__(self, state: Path) -> None:
        object.__setattr__(self, "folder", state)

    def listing(self) -> Iterator[Listed | Unlisted]:
        """Every file, folder by folder, each sorted by name.

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
            leads_on = is_folder(entry)
            if entry.is_symlink():
                if not f"{os.path.realpath(entry.path)}/".startswith(self._real_root.rstrip("/") + "/"):
                    yield Unlisted(path, Reason.PATH_OUTSIDE_ROOT, "symbolic link", leads_on)
                    continue
                if leads_on:
                    continue
            elif leads_on:
                yield from self._walk(path)
                continue
            yield _listed(path, entry)


def _entry(path: str) -> Entry:
    return {"path": path, "archive": 0, "offset": 0, "size": -1, "packed_size": -1, "stamp": ""}


def _is_text(path: str) -> bool:
    """Whether a name can stand in a table; Python marks bytes that are no UTF-8 with half surrogate pairs."""
    return path.isascii() or os.fsencode(path).decode("utf-8", "replace") == path


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a circle of links
        return False


def _listed(path: str, entry: "os.DirEntry[str]") -> Listed:
    try:
        facts = entry.stat()
    except OSError:
        return Listed(path, None)
    return Listed(path, facts.st_size, str(facts.st_mtime_ns))
