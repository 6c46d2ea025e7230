"""Turn a source's annotations into shards of photos and person boxes, and say what was wrong with the others.

The reader's records go into a database that spills onto the disk, which joins boxes to photos and finds duplicates;
memory does not grow with the annotations. A photo's shard is decided by the hash of its id: what is added to the
annotations later leaves the other shards, and all that was computed from them, as they are.

Symbolic links are not followed here, millions of photos would be touched for it: `tasks.images.photo` refuses a link
that leads out of the photo folder at the moment when it opens the photo.
"""

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from storage.digest import digest
from storage.errors import DamagedFileError
from storage.reasons import Reason
from storage.report import CountsDoNotAddUpError, Item, StageReport, Tally
from storage.schema import BOXES, PHOTOS, REJECTS
from storage.sealed import read_record, write_record
from storage.shard import Shard, ShardWriter
from storage.store import SCRATCH, Store
from tasks.images.photo_header import HeaderTooShortError, NotAnImageError, read_header
from tasks.images.upright import shown_by_size
from tasks.ingest.database import (
    KEPT_BOXES,
    KEPT_PHOTOS,
    LOST,
    NUM_IN,
    ROWS_AT_ONCE,
    SAMPLED_PHOTOS,
    UNREAD_FILES,
    OnProgress,
    collect,
    judge,
)
from tasks.photos.photos import Photos
from tasks.photos.places import any_changed, photos_of
from tasks.sources.base import Source
from tasks.sources.scratch_database import scratch_database

VERSION = 2
"""Part of every key; raised whenever the same annotations would give other tables."""

MEMORY_MB = 300
ITEMS: tuple[Item, ...] = ("record", "photo", "box", "field")
HEADER_BYTES = 1 << 16
AT_A_TIME = 16
SAMPLED = 1000
"""Photos whose headers are read to learn what the boxes of a source refer to."""


def ingest_key(store: Store, source: Source) -> str:
    """Digest of everything that decides what the source's annotations say, wherever they lie."""
    return digest("ingest", VERSION, source.what_is_read(photos_of(source.photos, store)))


def ingested_shards(store: Store, source: Source, photos_per_shard: int) -> list[Shard] | None:
    """The finished shards of a source; None where there are none, or where a photo that failed was mended since."""
    return _finished(store, source, _key(store, source, photos_per_shard))


def ingest_source(
    store: Store, source: Source, photos_per_shard: int, on_progress: OnProgress | None = None
) -> list[Shard]:
    """Read a source's annotations and write its shards.

    Args:
        store: where the shards are kept.
        source: what to read.
        photos_per_shard: at most about so many photos come into a shard, at least about half of it.
        on_progress: told of every few thousand records.

    Raises:
        ValueError: the annotations as a whole are not of the source's format.
    """
    key = _key(store, source, photos_per_shard)
    commit = _commit_path(source, key)
    store.remove(commit)  # until the last shard is written again, nothing is done
    with _scratch_folder(store, source) as folder, closing(scratch_database(folder, MEMORY_MB)) as database:
        (folder / "reader").mkdir()
        photos = photos_of(source.photos, store)
        records = source.read(folder / "reader", photos)
        num_read = collect(database, records, on_progress or (lambda _: None))
        num_shards = judge(database, photos.where, source.boxes_from == "annotations", photos_per_shard)
        shards = [Shard(store, "ingest", source.name, number, key) for number in range(num_shards)]
        reports = list(_write(database, folder, shards, _boxes_refer_to(database, source, photos)))
    _check_nothing_lost(source, num_read, reports)
    write_record(store, commit, {"num_shards": num_shards})
    return shards


def _key(store: Store, source: Source, photos_per_shard: int) -> str:
    return digest(ingest_key(store, source), photos_per_shard)


def _commit_path(source: Source, key: str) -> str:
    return f"ingest/{source.name}/{key}.json"


def _finished(store: Store, source: Source, key: str) -> list[Shard] | None:
    num_shards = _num_shards(store, _commit_path(source, key))
    if num_shards is None:
        return None
    shards = [Shard(store, "ingest", source.name, number, key) for number in range(num_shards)]
    photos = photos_of(source.photos, store)
    for shard in shards:
        if not shard.is_done() or any_changed(photos, shard.manifest().unread_files):
            return None
    return shards


def _num_shards(store: Store, commit: str) -> int | None:
    """How many shards the source has; None where nothing says so any more, and the source is read again."""
    if not store.exists(commit):
        return None
    try:
        content = read_record(store, commit, "")
    except DamagedFileError:
        return None
    num_shards = content.pop("num_shards", None)
    return num_shards if isinstance(num_shards, int) and not content else None


@contextlib.contextmanager
def _scratch_folder(store: Store, source: Source) -> Iterator[Path]:
    """An empty folder on the disk of the shards, or a temporary one; what a killed run left in it is removed."""
    if not store.is_local:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    folder = store.local(f"{SCRATCH}/{source.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another source is being read
            folder.parent.rmdir()


class _Slices:
    """The rows of a query that starts with the column `shard` and is sorted by it, shard by shard.

    They wait in a file: two sorts that are open at a time would have to share the memory.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
        found = database.cursor().sql(query).to_arrow_reader(ROWS_AT_ONCE)
        with pa.ipc.new_stream(path, found.schema) as file:
            for batch in found:
                file.write_batch(batch)
        self._batches, self._empty = iter(pa.ipc.open_stream(path.open("rb"))), found.schema.empty_table()
        self._rest: pa.Table | None = None

    def take(self, shard: int) -> pa.Table:
        """The rows of this shard; to be called with ascending numbers."""
        pieces = [self._empty]
        while True:
            if self._rest is None:
                batch = next(self._batches, None)
                if batch is None:
                    break
                self._rest = pa.Table.from_batches([batch])
            numbers = self._rest["shard"].to_numpy()
            end = int(np.searchsorted(numbers, shard, side="right"))
            pieces.append(self._rest.slice(0, end))
            if end < len(numbers):
                self._rest = self._rest.slice(end)
                break
            self._rest = None
        return pa.concat_tables(pieces).combine_chunks()


def _boxes_refer_to(database: duckdb.DuckDBPyConnection, source: Source, photos: Photos) -> str | None:
    """Which pixels the source's boxes are counted in, "stored" or "upright", as far as a sample of its photos tells.

    A photo that is stored on its side tells by its annotated width and height; one that is mirrored or upside down
    cannot, and goes by the others of its source if they agree.
    """
    if source.exif_orientation != "auto" or source.boxes_from == "detector":
        return None
    sample = database.execute(SAMPLED_PHOTOS.format(limit=SAMPLED)).fetchall()
    said = set()
    with ThreadPoolExecutor(AT_A_TIME) as threads:  # a bucket takes its time
        starts = threads.map(lambda row: photos.start(row[0], HEADER_BYTES), sample)
        for data, (_, width, height) in zip(starts, sample, strict=True):
            with contextlib.suppress(NotAnImageError, HeaderTooShortError):
                if isinstance(data, bytes):
                    said.add(shown_by_size((width, height), read_header(data)))
    said.discard(None)
    return said.pop() if len(said) == 1 else None


def _write(
    database: duckdb.DuckDBPyConnection, folder: Path, shards: list[Shard], boxes_refer_to: str | None
) -> Iterator[StageReport]:
    source_name = shards[0].source
    photos_query = KEPT_PHOTOS.format(boxes_refer_to=f"'{boxes_refer_to}'" if boxes_refer_to else "NULL::VARCHAR")
    queries = (photos_query, KEPT_BOXES, LOST.format(source=source_name), UNREAD_FILES, NUM_IN)
    photos, boxes, lost, unread_files, num_in = (
        _Slices(database, query, folder / f"{i}.arrows") for i, query in enumerate(queries)
    )
    for shard in shards:
        tally = Tally("ingest", source_name, ITEMS)
        for row in num_in.take(shard.number).to_pylist():
            tally.enter(row["item"], row["num"])
        streams = {"photos": photos, "boxes": boxes, "rejects": lost}
        tables = {name: rows.take(shard.number) for name, rows in streams.items()}
        tally.keep("photo", len(tables["photos"]))
        tally.keep("box", len(tables["boxes"]))
        for (item, reason), num in _counted(tables["rejects"]).items():
            tally.lose(item, Reason(reason), num)
        waiting = unread_files.take(shard.number).to_pylist()
        unread = {row["path"]: row["signature"] and json.loads(row["signature"]) for row in waiting}
        with ShardWriter(shard, photos=PHOTOS, boxes=BOXES, rejects=REJECTS) as writer:
            for name, table in tables.items():
                for batch in table.to_batches():
                    writer[name].extend(batch)
            yield writer.commit(tally.report(), unread)


def _counted(rejects: pa.Table) -> Counter[tuple[Item, str]]:
    return Counter(zip(rejects["item"].to_pylist(), rejects["reason"].to_pylist(), strict=True))


def _check_nothing_lost(source: Source, num_read: Counter[Item], reports: list[StageReport]) -> None:
    """Compare what the reader gave with what the shards account for: the database must have lost nothing."""
    for item in ITEMS:
        num_written = sum(report.counts[item].num_in for report in reports)
        if num_read[item] != num_written:
            raise CountsDoNotAddUpError(f"ingest/{source.name}: {num_read[item]} {item}s read, {num_written} written")
