"""A shard: the tables that one stage writes for one part of one source, and the marker that says they are complete.

Its name is decided before the work starts: `STAGE/SOURCE/NUMBER-KEY`, where KEY is a digest of the stage's
configuration and of the shards that it reads. The marker `….json` is written last, so a shard is done where it exists.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from storage.digest import RowsDigest
from storage.errors import DamagedFileError
from storage.frozen import Frozen
from storage.parquet import Row as Row
from storage.parquet import TableFacts, TableWriter, check_digest, open_parquet
from storage.report import StageReport
from storage.schema import IMAGE
from storage.sealed import read_record, sealed
from storage.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")


class Marker(Frozen):
    """What the marker of a shard says."""

    report: StageReport
    """The shard's checked counts."""
    tables: dict[str, TableFacts]
    unread_files: dict[str, list[int | str] | None] = {}
    """Path → signature, such as [size in bytes, mtime in ns], of every file that failed; None where it was missing."""
    read_files: dict[str, list[int | str]] = {}
    """Path → signature and digest of the bytes of every photo that was read; a root made before has none."""
    rows_digest: str | None = None
    """Of the rows that a later stage publishes, whatever shards they are spread over."""


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
        """The marker is there and intact, and every table that it names has the size that it names.

        Whether the bytes are those that were written is looked at when they are read.
        """
        if not self.store.exists(self.marker):
            return False
        try:
            tables = self.manifest().tables
        except DamagedShardError:
            return False
        return all(self.store.size_bytes(self.table(name)) == facts.bytes for name, facts in tables.items())

    def manifest(self) -> Marker:
        """What the marker says.

        Raises:
            DamagedShardError: the marker is not as it was written.
        """
        try:
            return Marker.model_validate(read_record(self.store, self.marker, ""))
        except (DamagedFileError, ValidationError, FileNotFoundError) as error:
            raise DamagedShardError(self, self.marker) from error

    def report(self) -> StageReport:
        return self.manifest().report

    def num_rows(self, table: str) -> int:
        """Rows of a finished table."""
        return self.manifest().tables[table].rows

    def digest_of(self, table: str) -> str:
        """Digest of a finished table's bytes: what a later stage puts into its own key."""
        return self.manifest().tables[table].digest

    def withdraw(self) -> None:
        """Let the shard count as not done, so that it is made again."""
        self.store.remove(self.marker)

    @contextmanager
    def _opened(self, table: str, columns: list[str] | None, look: bool = False) -> Iterator[pq.ParquetFile]:
        """A table whose bytes are those that were written, its pictures left out where none of them is read.

        Args:
            table: its name.
            columns: that are about to be read; None for all.
            look: the pictures are to be shown and nothing else: that each PNG knows its own checksum is enough.
        """
        path = self.table(table)
        try:
            with open_parquet(self.store, path, "") as parquet:
                images = {field.name for field in parquet.schema_arrow if field.type == IMAGE}
                reads_images = bool(images) and (columns is None or any(c.split(".")[0] in images for c in columns))
                facts = self.manifest().tables[table]
                if not check_digest(self.store, path, facts, parquet, pictures=reads_images and not look):
                    raise DamagedShardError(self, path)
                yield parquet
        except DamagedFileError as error:
            raise error if isinstance(error, DamagedShardError) else DamagedShardError(self, path) from error

    def rows_digest(self) -> str:
        """Digest of the rows that were published or may be, whatever shards they are spread over.

        Shards of earlier versions have none of their own: theirs is that of the table `crops`, as it was cut.
        """
        return self.manifest().rows_digest or self.digest_of("crops")

    def read(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """A whole table; name the columns where it holds images.

        Raises:
            DamagedShardError: it is not as it was written.
        """
        with self._opened(table, columns) as parquet:
            return parquet.read(columns=columns)

    def batches(self, table: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """A table row group by row group, so that images never fill the memory.

        Raises:
            DamagedShardError: it is not as it was written.
        """
        with self._opened(table, columns) as parquet:
            for group in range(parquet.num_row_groups):
                yield from parquet.read_row_group(group, columns=columns).to_batches()

    def take(self, table: str, indices: list[int], columns: list[str]) -> list[Row]:
        """Rows to be shown, by their position, in ascending order; reads no other row groups than theirs.

        Raises:
            DamagedShardError: the table is not as it was written, apart from the pictures in it.
        """
        rows: list[Row] = []
        with self._opened(table, columns, look=True) as parquet:
            start = 0
            for group in range(parquet.num_row_groups):
                end = start + parquet.metadata.row_group(group).num_rows
                inside = [i - start for i in sorted(indices) if start <= i < end]
                if inside:
                    rows += parquet.read_row_group(group, columns=columns).take(inside).to_pylist()
                start = end
        return rows


class DamagedShardError(DamagedFileError):
    """A table or the marker of a shard is not as it was written."""

    def __init__(self, shard: Shard, path: str) -> None:
        super().__init__(shard, path)  # from these it is built again in another process
        self.shard, self.path = shard, path

    def __str__(self) -> str:
        store = self.shard.store
        how = "is not as it was written" if store.exists(self.path) else "is missing"
        return (
            f"{self.path} below {store.root} {how}: delete {self.shard.marker} there and"
            " run `persona curate` again, which makes it anew"
        )


def remaking_damaged(walk: Callable[[], T]) -> T:
    """What `walk` returns; where it finds a shard damaged, that one is withdrawn and the walk begins anew.

    Raises:
        DamagedShardError: a shard that was made again is damaged again: disk or memory cannot be trusted.
    """
    withdrawn: set[str] = set()
    while True:
        try:
            return walk()
        except DamagedShardError as error:
            if error.shard.name in withdrawn:
                raise
            withdrawn.add(error.shard.name)
            log.warning("%s below %s is not as it was written: it is made again", error.path, error.shard.store.root)
            error.shard.withdraw()


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
        read_files: Mapping[str, list[int | str]] | None = None,
    ) -> StageReport:
        """Rename the tables, then write the marker; returns `report`.

        Args:
            report: the shard's checked counts.
            unread_files: path → signature, such as [size in bytes, mtime in ns], or None where it is missing, of every
                file that failed; the shard is worked on again as soon as one of them changes.
            rows_digest: of the rows that a later stage publishes.
            read_files: path → signature and digest of the bytes of every photo that was read; the same goes for them.
        """
        tables = {name: table.close() for name, table in self._tables.items()}
        self._files.close()
        self._committed = True
        marker = Marker(
            report=report,
            tables=tables,
            unread_files=dict(unread_files or {}),
            read_files=dict(read_files or {}),
            rows_digest=None if rows_digest is None else rows_digest.hexdigest(),
        )
        self._shard.store.write_text(self._shard.marker, sealed(marker.model_dump(mode="json")).decode())
        return report

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._committed:
            return
        for table in self._tables.values():
            table.abandon()
        self._files.__exit__(kind or RuntimeError, error or RuntimeError("shard not committed"), trace)
