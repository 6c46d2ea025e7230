"""Several archives as one place: their names in one table, which is kept below the root."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import pyarrow as pa

from storage.digest import digest
from storage.store import Store
from tasks.photos.archive import kind_of, members, read_member
from tasks.photos.byte_files import ByteFile, RemoteFile
from tasks.photos.name_table import ENTRIES, Entry, NameTable, write_sorted, write_table
from tasks.photos.names import Parts
from tasks.photos.photos import Listed, Signature, Taken, Unlisted

VERSION = 1
FOLDER = "photos"
"""Below the root: what was found in archives."""


@dataclass(frozen=True)
class Archives:
    """Photos in archives, in the order in which the archives are given."""

    files: tuple[ByteFile, ...]
    store: Store

    @property
    def is_remote(self) -> bool:
        """Reading takes as long as a network does."""
        return any(isinstance(file, RemoteFile) for file in self.files)

    def find(self, listed: Parts) -> list[Entry]:
        """The files that a listed name may mean."""
        return self._table.find(listed)

    is_slow_to_ask = False

    def read(self, entry: Entry, num_bytes: int | None = None) -> Taken:
        """The bytes of one of them, with their signature."""
        number = entry["archive"]
        return read_member(self.files[number], entry, self._stops[number], num_bytes), self.signature(entry)

    def signature(self, entry: Entry) -> Signature:
        """[size in bytes, mtime as the tar has it or CRC as the zip has it]."""
        return [entry["size"], entry["stamp"]]

    def listing(self) -> Iterator[Listed | Unlisted]:
        """Every file in all archives."""
        return (Listed(*row) for row in self._table.in_order())

    @cached_property
    def _keys(self) -> list[str]:
        return [_key(file) for file in self.files]

    @cached_property
    def _stops(self) -> list[Path | None]:
        paths = [f"{FOLDER}/{key}.gzip" for key in self._keys]
        self._table  # noqa: B018 - where it is open, every archive was gone through
        return [local_copy(self.store, path) if self.store.exists(path) else None for path in paths]

    @cached_property
    def _table(self) -> NameTable:
        merged = f"{FOLDER}/{digest('archives', VERSION, self._keys)}.arrow"
        if not self.store.exists(merged):
            for file in self.files:
                index_archive(self.store, file)
            tables = []
            for number, key in enumerate(self._keys):
                rows = NameTable(local_copy(self.store, f"{FOLDER}/{key}.arrow")).rows
                numbers = pa.array([number] * len(rows), pa.int32())
                tables.append(rows.set_column(ENTRIES.get_field_index("archive"), ENTRIES.field("archive"), numbers))
            with self.store.new_file(merged) as aside:
                write_sorted(aside, pa.concat_tables(tables))
        return NameTable(local_copy(self.store, merged))

    def __getstate__(self) -> tuple[tuple[ByteFile, ...], Store]:
        return self.files, self.store

    def __setstate__(self, state: tuple[tuple[ByteFile, ...], Store]) -> None:
        for name, value in zip(("files", "store"), state, strict=True):
            object.__setattr__(self, name, value)


def _key(file: ByteFile) -> str:
    """Names what was found in an archive, wherever it lies; another size or time makes it another archive."""
    return digest("archive", VERSION, file.name, *file.facts())


def index_archive(store: Store, file: ByteFile) -> None:
    """Go through an archive once and keep what is in it; nothing to do where that is known already."""
    key = _key(file)
    table, stops = f"{FOLDER}/{key}.arrow", f"{FOLDER}/{key}.gzip"
    if store.exists(table):
        return
    kind = kind_of(file)
    with store.new_file(table) as aside:
        if kind == "gzip":
            with store.new_file(stops) as stops_aside:
                write_table(aside, members(file, kind, stops_aside))
        else:
            write_table(aside, members(file, kind, None))


def local_copy(store: Store, path: str) -> Path:
    """A file below the root as a local one; from a bucket it is fetched once per process."""
    return store.local(path) if store.is_local else _fetched(store, path)


@lru_cache(maxsize=256)
def _fetched(store: Store, path: str) -> Path:
    target = Path(_process_folder().name) / path.replace("/", "_")
    with store.filesystem.open_input_stream(store.full(path), compression=None) as found, target.open("wb") as file:
        while piece := found.read(1 << 20):
            file.write(piece)
    return target


@lru_cache(maxsize=1)
def _process_folder() -> "tempfile.TemporaryDirectory[str]":
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="persona-")
