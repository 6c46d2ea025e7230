"""Which weights files a network opens, with their SHA-256: remembered, so that nothing is loaded to learn them.

A memory counts as long as every file has the size and the times that it had; a file that was exchanged under its name
is loaded again, and what it gives stands under its own hash.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from storage.errors import DamagedFileError
from storage.frozen import Frozen
from storage.sealed import read_record, write_record
from storage.store import Store

FILE = "weights.json"
"""Below the root: what uses them → its files."""


class WeightsFile(Frozen):
    """A file as it was when it was opened."""

    name: str
    """As manifests and keys call it."""
    path: str
    num_bytes: int
    mtime_ns: int
    ctime_ns: int
    """Changes also where somebody sets the other time back."""
    sha256: str

    @classmethod
    def seen(cls, path: Path, name: str, sha256: str) -> "WeightsFile":
        """The file as it is now."""
        facts = path.stat()
        times = {"mtime_ns": facts.st_mtime_ns, "ctime_ns": facts.st_ctime_ns}
        return cls(name=name, path=str(path.absolute()), num_bytes=facts.st_size, sha256=sha256, **times)

    def is_unchanged(self) -> bool:
        """Size and times are those that it had."""
        try:
            return self == WeightsFile.seen(Path(self.path), self.name, self.sha256)
        except OSError:
            return False


def hashes_of(files: Iterable[WeightsFile]) -> dict[str, str]:
    """Name → SHA-256."""
    return {file.name: file.sha256 for file in files}


class _Memory(Frozen):
    weights: dict[str, tuple[WeightsFile, ...]]


def remembered(store: Store) -> dict[str, tuple[WeightsFile, ...]]:
    """What uses weights → its files, as far as they are what they were; a memory that cannot be read is none."""
    if not store.exists(FILE):
        return {}
    try:
        known = _Memory.model_validate(read_record(store, FILE, "")).weights
    except (DamagedFileError, ValidationError):
        return {}
    return {user: files for user, files in known.items() if all(file.is_unchanged() for file in files)}


def remember(store: Store, found: Mapping[str, Iterable[WeightsFile]]) -> None:
    """Add to the memory what was found out."""
    memory = _Memory(weights=remembered(store) | {user: tuple(files) for user, files in found.items()})
    write_record(store, FILE, memory.model_dump(mode="json"))
