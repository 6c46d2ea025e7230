"""A table of the files in one place, sorted so that those which a listed name may mean are found in microseconds.

It lies in an Arrow file that is mapped into memory: the worker processes of a machine share its pages, and none of
them holds millions of names.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.photos.names import Parts, best_matches, is_litter, key_of

ROWS_AT_ONCE = 65_536

ENTRIES = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),  # of the name, as `key_of` gives it
        pa.field("path", pa.string(), nullable=False),  # within the place
        pa.field("archive", pa.int32(), nullable=False),  # which archive of the source; 0 in a folder
        pa.field("offset", pa.int64(), nullable=False),  # in the archive, of the bytes or of their local header
        pa.field("size", pa.int64(), nullable=False),  # in bytes, -1 where that is not known
        pa.field("packed_size", pa.int64(), nullable=False),  # of a zip member with its local header, -1 elsewhere
        pa.field("stamp", pa.string(), nullable=False),  # changes with the bytes: mtime, CRC or ETag
    ]
)

Entry = dict[str, Any]
"""A row of ENTRIES."""


def write_table(path: Path, entries: Iterator[Entry]) -> None:
    """Write entries sorted by key and path."""
    batches = []
    rows: list[Entry] = []
    for entry in entries:
        rows.append({"key": key_of(entry["path"].rpartition("/")[2]), **entry})
        if len(rows) >= ROWS_AT_ONCE:
            batches.append(pa.RecordBatch.from_pylist(rows, ENTRIES))
            rows = []
    batches.append(pa.RecordBatch.from_pylist(rows, ENTRIES))
    write_sorted(path, pa.Table.from_batches(batches))


def write_sorted(path: Path, table: pa.Table) -> None:
    """Write a table of ENTRIES in the order in which it is searched."""
    in_order = table.sort_by([(name, "ascending") for name in ("key", "path", "archive")]).combine_chunks()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, ENTRIES) as writer:
        writer.write_table(in_order)


class NameTable:
    """An open table of entries."""

    def __init__(self, path: Path) -> None:
        self.rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._keys = np.concatenate([chunk.to_numpy() for chunk in self.rows["key"].chunks] or [np.empty(0, np.uint64)])

    def find(self, listed: Parts) -> list[Entry]:
        """The entries that a listed name means, as `best_matches` has it."""
        key = np.uint64(key_of(listed[-1]))
        start, end = np.searchsorted(self._keys, key, "left"), np.searchsorted(self._keys, key, "right")
        same_stem: list[Entry] = self.rows.slice(start, end - start).to_pylist()
        rows = [row for row in same_stem if not is_litter(row["path"])]
        return [rows[number] for number in best_matches(listed, [row["path"] for row in rows])]

    def in_order(self) -> Iterator[tuple[str, int, str]]:
        """(path, size, stamp) of every entry, in the order of a walk through folders that are sorted by name."""
        walk = pc.sort_indices(pc.replace_substring(self.rows["path"], "/", "\0"))
        for start in range(0, len(walk), ROWS_AT_ONCE):
            some = self.rows.select(["path", "size", "stamp"]).take(walk.slice(start, ROWS_AT_ONCE))
            yield from zip(*(column.to_pylist() for column in some.columns), strict=True)
