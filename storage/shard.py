"""A shard: the tables that one stage writes for one part of one source, and the marker that says they are complete.

Its name is decided before the work starts: `STAGE/SOURCE/NUMBER-KEY`, where KEY is a digest of the stage's
configuration and of the shards that it reads. The marker `….json` is written last, so a shard is done where it exists.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from storage.digest import RowsDigest, canonical_json
from storage.report import StageReport
from storage.schema import IMAGE
from storage.store import Store

Row = dict[str, Any]

ROWS_WITH_IMAGES = 32
ROWS_WITHOUT_IMAGES = 16_384


@dataclass(frozen=True)
class Shard:
    """Where one shard lies; exists before its files do."""

    store: Store
    stage: str
    source: str
    number: int
    key: str

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.source}/{self.number:05d}-{self.key}"

    @classmethod
    def named(cls, store: Store, name: str) -> "Shard":
        """The shard of a `name`, as the books of a run list it."""
        stage, source, file = name.rsplit("/", 2)
        number, key = file.split("-", 1)
        return cls(store, stage, source, int(number), key)

    @property
    def marker(self) -> str:
        return f"{self.name}.json"

    def table(self, name: str) -> str:
        """Path of one of its tables."""
        return f"{self.name}.{name}.parquet"

    def is_done(self) -> bool:
        """The marker is there, and every table that it names has the size that it names."""
        if not self.store.exists(self.marker):
            return False
        tables = self.manifest()["tables"]
        return all(self.store.size_bytes(self.table(name)) == facts["bytes"] for name, facts in tables.items())

    def manifest(self) -> Row:
        """What the marker says: `report`, `tables` (rows, bytes, digest) and `unread_files`."""
        return self.store.read_json(self.marker)

    def report(self) -> StageReport:
        return StageReport.model_validate(self.manifest()["report"])

    def num_rows(self, table: str) -> int:
        """Rows of a finished table."""
        return int(self.manifest()["tables"][table]["rows"])

    def digest_of(self, table: str) -> str:
        """Digest of a finished table's bytes: what a later stage puts into its own key."""
        return self.manifest()["tables"][table]["digest"]

    def rows_digest(self) -> str:
        """Digest of the rows that were published or may be, whatever shards they are spread over.

        Shards of earlier versions have none of their own: theirs is that of the table `crops`, as it was cut.
        """
        found = self.manifest().get("rows_digest")
        return str(found or self.digest_of("crops"))

    def read(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """A whole table; name the columns where it holds images."""
        with self.store.filesystem.open_input_file(self.store.full(self.table(table))) as file:
            return pq.read_table(file, columns=columns)

    def batches(self, table: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """A table row group by row group, so that images never fill the memory."""
        with self.store.filesystem.open_input_file(self.store.full(self.table(table))) as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                yield from parquet.read_row_group(group, columns=columns).to_batches()

    def take(self, table: str, indices: list[int], columns: list[str]) -> list[Row]:
        """Rows by their position, in ascending order; reads no other row groups than theirs."""
        rows: list[Row] = []
        with self.store.filesystem.open_input_file(self.store.full(self.table(table))) as file:
            parquet = pq.ParquetFile(file)
            start = 0
            for group in range(parquet.num_row_groups):
                end = start + parquet.metadata.row_group(group).num_rows
                inside = [i - start for i in sorted(indices) if start <= i < end]
                if inside:
                    rows += parquet.read_row_group(group, columns=columns).take(inside).to_pylist()
                start = end
        return rows


class _DigestingFile(io.RawIOBase):
    """Passes bytes on to a file and digests them on the way, so that no finished table is read again for it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._digest = xxhash.xxh3_128()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        self._file.close()
        super().close()

    def facts(self, rows: int) -> Row:
        return {"rows": rows, "bytes": self.size, "digest": self._digest.hexdigest()}


class TableWriter:
    """Rows in, Parquet row groups out; holds at most one row group."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._has_images = any(field.type == IMAGE for field in schema)
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

    def close(self) -> Row:
        """Finish the file; returns its rows, bytes and digest."""
        self._flush()
        self._parquet.close()
        self._file.close()
        return self._file.facts(self.num_rows)

    def abandon(self) -> None:
        self._rows.clear()
        self._parquet.close()
        self._file.close()


class ShardWriter:
    """Writes the tables of one shard aside; `commit` puts them in place, and an exception leaves nothing behind.

    Example:
        with ShardWriter(shard, crops=CROPS, rejects=REJECTS) as out:
            out["rejects"].append(row)
            out.commit(tally.report())
    """

    def __init__(self, shard: Shard, **schemas: pa.Schema) -> None:
        self._shard, self._schemas = shard, schemas
        self._files = ExitStack()
        self._tables: dict[str, TableWriter] = {}
        self._committed = False

    def __enter__(self) -> "ShardWriter":
        for name, schema in self._schemas.items():
            aside = self._files.enter_context(self._shard.store.new_file(self._shard.table(name)))
            self._tables[name] = TableWriter(aside, schema)
        return self

    def __getitem__(self, table: str) -> TableWriter:
        return self._tables[table]

    def commit(
        self,
        report: StageReport,
        unread_files: Mapping[str, list[int | str] | None] | None = None,
        rows_digest: RowsDigest | None = None,
    ) -> StageReport:
        """Rename the tables, then write the marker; returns `report`.

        Args:
            report: the shard's checked counts.
            unread_files: path → signature, such as [size in bytes, mtime in ns], or None where it is missing, of every
                file that failed; the shard is worked on again as soon as one of them changes.
            rows_digest: of the rows that a later stage publishes.
        """
        tables = {name: table.close() for name, table in self._tables.items()}
        self._files.close()
        self._committed = True
        marker: Row = {
            "report": report.model_dump(mode="json"),
            "tables": tables,
            "unread_files": dict(unread_files or {}),
        }
        if rows_digest is not None:
            marker["rows_digest"] = rows_digest.hexdigest()
        self._shard.store.write_text(self._shard.marker, canonical_json(marker))
        return report

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._committed:
            return
        for table in self._tables.values():
            table.abandon()
        self._files.__exit__(kind or RuntimeError, error or RuntimeError("shard not committed"), trace)
