"""Parquet files: written with the digest of their bytes, and not read before that digest was compared.

A table with pictures has two digests. The second leaves the pictures out: whoever reads only numbers, as selection
does, need not touch hundreds of gigabytes to know that the numbers are as they were written.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from storage.digest import READ_BYTES
from storage.errors import DamagedFileError, DiskOrNetworkError
from storage.frozen import Frozen
from storage.schema import IMAGE
from storage.store import Store

ROWS_WITH_IMAGES = 32
ROWS_WITHOUT_IMAGES = 16_384
_TAIL_BYTES = 8
"""Length of the footer and `PAR1`, behind the footer."""

Row = dict[str, Any]


class TableFacts(Frozen):
    """What is known of a finished table."""

    rows: int
    bytes: int
    digest: str
    """XXH3, 128 bits, of all bytes."""
    digest_without_images: str | None = None
    """The same of all bytes but the pictures'; empty for a table without any, or written by an older version."""


@contextlib.contextmanager
def open_parquet(store: Store, path: str, remedy: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file below a root; what is wrong with it is told with its name.

    Args:
        store: its root.
        path: below the root.
        remedy: what to do where it is missing or cannot be read.

    Raises:
        DamagedFileError: it is missing or cannot be read.
        DiskOrNetworkError: the disk failed, or the object store did not answer.
    """
    try:
        with store.filesystem.open_input_file(store.full(path)) as file:
            yield pq.ParquetFile(file)
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path} is missing below {store.root}: {remedy}") from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, DiskOrNetworkError):
            raise
        if getattr(error, "errno", None) or "AWS Error" in str(error):
            raise DiskOrNetworkError(f"{path} below {store.root} could not be read: {error}") from error
        raise DamagedFileError(f"{path} below {store.root} is damaged, it cannot be read as Parquet: {remedy}") from (
            error
        )


_compared: set[tuple[str, int | None, str]] = set()


def check_digest(store: Store, path: str, facts: TableFacts, parquet: pq.ParquetFile, pictures: bool) -> bool:
    """Whether the bytes that are about to be read are those that were written; compared once per process and file.

    Args:
        store: the root.
        path: of the table, below the root.
        facts: what its marker says.
        parquet: the table, opened.
        pictures: whether its pictures are about to be read, too.
    """
    leave_out = not pictures and facts.digest_without_images is not None
    expected = facts.digest_without_images if leave_out else facts.digest
    info = store.filesystem.get_file_info(store.full(path))
    key = store.full(path), info.mtime_ns, str(expected)
    if key in _compared:
        return True
    if info.size != facts.bytes:
        return False
    with store.filesystem.open_input_file(store.full(path)) as file:
        ranges = _outside_of_images(parquet, facts.bytes) if leave_out else [(0, facts.bytes)]
        equal = _digest_of(file, ranges) == expected
    if equal:
        _compared.add(key)
    return equal


def _digest_of(file: BinaryIO | pa.NativeFile, ranges: Iterable[tuple[int, int]]) -> str:
    digest = xxhash.xxh3_128()
    for start, end in ranges:
        file.seek(start)
        while start < end and (piece := file.read(min(READ_BYTES, end - start))):
            digest.update(piece)
            start += len(piece)
    return digest.hexdigest()


def _outside_of_images(parquet: pq.ParquetFile, num_bytes: int) -> list[tuple[int, int]]:
    """Where everything lies that is no picture: (start, end) in bytes, in ascending order."""
    metadata = parquet.metadata
    images = {field.name for field in parquet.schema_arrow if field.type == IMAGE}
    footer = num_bytes - _TAIL_BYTES - metadata.serialized_size  # a damaged one must not leave itself out
    ranges, start = [], 0
    for i in range(metadata.num_row_groups):
        for j in range(metadata.num_columns):
            column = metadata.row_group(i).column(j)
            if column.path_in_schema.split(".")[0] in images:
                first = column.data_page_offset
                if column.has_dictionary_page:
                    first = min(first, column.dictionary_page_offset)
                ranges.append((start, _within(first, footer)))
                start = _within(first + column.total_compressed_size, footer)
    return [*ranges, (start, num_bytes)]


def _within(place: int, footer: int) -> int:
    return max(0, min(place, footer))


class _DigestingFile(io.RawIOBase):
    """Passes bytes on to a file and digests them on the way, so that no finished table is read again for it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._digest = xxhash.xxh3_128()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: pa.Buffer | bytes) -> int:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        self._file.close()
        super().close()

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class TableWriter:
    """Rows in, Parquet row groups out; holds at most one row group."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._has_images = any(field.type == IMAGE for field in schema)
        self._path = path
        self._file = _DigestingFile(path)
        # A row with a picture is nearly all PNG, which nothing shrinks further, and coordinates hardly repeat.
        repeating = [] if self._has_images else [f.name for f in schema if "bbox" not in f.name]
        self._parquet = pq.ParquetWriter(
            pa.PythonFile(self._file, mode="w"),
            schema,
            compression="none" if self._has_images else "zstd",
            use_dictionary=repeating or False,
            write_statistics=not self._has_images,
        )
        self._rows: list[Row] = []
        self.num_rows = 0

    def append(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= (ROWS_WITH_IMAGES if self._has_images else ROWS_WITHOUT_IMAGES):
            self._flush()

    def extend(self, batch: pa.RecordBatch) -> None:
        """Append a batch of the same columns as a row group of its own."""
        self._flush()
        if batch.num_rows:
            self._parquet.write_batch(batch.select(self._schema.names).cast(self._schema))
            self.num_rows += batch.num_rows

    def _flush(self) -> None:
        if self._rows:
            self._parquet.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self.num_rows += len(self._rows)
            self._rows.clear()

    def close(self) -> TableFacts:
        """Finish the file; returns its rows, bytes and digests."""
        self._flush()
        self._parquet.close()
        self._file.close()
        return TableFacts(
            rows=self.num_rows,
            bytes=self._file.size,
            digest=self._file.hexdigest(),
            digest_without_images=self._digest_without_images() if self._has_images else None,
        )

    def _digest_without_images(self) -> str:
        with self._path.open("rb") as file:
            return _digest_of(file, _outside_of_images(pq.ParquetFile(file), self._file.size))

    def abandon(self) -> None:
        self._rows.clear()
        self._parquet.close()
        self._file.close()
