"""Turn a source's annotations into shards of photos and person boxes, and say what was wrong with the others.

The reader's records go into a database on disk, which joins boxes to photos and finds duplicates, so that memory does
not grow with the annotations. A photo's shard is decided by the hash of its id: what is added to the annotations
later leaves the other shards, and all that was computed from them, as they are.

Symbolic links are not followed here, millions of photos would be touched for it: `tasks.photo` refuses a link that
leads out of the photo folder at the moment when it opens the photo.
"""

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from storage.digest import canonical_json, digest
from storage.reasons import Reason
from storage.report import CountsDoNotAddUpError, Item, StageReport, Tally
from storage.schema import BOXES, PHOTOS, REJECTS
from storage.shard import Shard, ShardWriter
from storage.store import Store
from tasks.scratch_database import scratch_database
from tasks.sources.base import Source
from tasks.sources.records import PersonBox, Photo, Records, Unread, boxes_batch, leads_outside, photos_batch
from tasks.unread_files import any_changed

VERSION = 1
"""Part of every key; raised whenever the same annotations would give other tables."""

MEMORY_MB = 400
ROWS_AT_ONCE = 16_384
ITEMS: tuple[Item, ...] = ("record", "photo", "box")

OnProgress = Callable[[int], None]
"""Told how many records were read since it was last called."""


def ingest_key(source: Source) -> str:
    """Digest of everything that decides what the source's annotations say, wherever they lie."""
    return digest("ingest", VERSION, source.content())


def ingested_shards(store: Store, source: Source, photos_per_shard: int) -> list[Shard] | None:
    """The finished shards of a source; None where there are none, or where a photo that failed was mended since."""
    return _finished(store, source, _key(source, photos_per_shard))


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
    key = _key(source, photos_per_shard)
    commit = _commit_path(source, key)
    if store.exists(commit):
        store.filesystem.delete_file(store.full(commit))  # until the last shard is written again, nothing is done
    with _scratch_folder(store, source) as folder, closing(scratch_database(folder, MEMORY_MB)) as database:
        (folder / "reader").mkdir()
        num_read = _collect(database, source.read(folder / "reader"), on_progress or (lambda _: None))
        num_shards = _judge(database, source, photos_per_shard)
        shards = [Shard(store, "ingest", source.name, number, key) for number in range(num_shards)]
        reports = list(_write(database, shards))
    _check_nothing_lost(source, num_read, reports)
    store.write_text(commit, canonical_json({"num_shards": num_shards}))
    return shards


def _key(source: Source, photos_per_shard: int) -> str:
    return digest(ingest_key(source), photos_per_shard)


def _commit_path(source: Source, key: str) -> str:
    return f"ingest/{source.name}/{key}.json"


def _finished(store: Store, source: Source, key: str) -> list[Shard] | None:
    commit = _commit_path(source, key)
    if not store.exists(commit):
        return None
    num_shards = store.read_json(commit)["num_shards"]
    shards = [Shard(store, "ingest", source.name, number, key) for number in range(num_shards)]
    for shard in shards:
        if not shard.is_done() or any_changed(source.photos, shard.manifest()["unread_files"]):
            return None
    return shards


@contextlib.contextmanager
def _scratch_folder(store: Store, source: Source) -> Iterator[Path]:
    """An empty folder on the disk of the shards, or a temporary one; what a killed run left in it is removed."""
    if not store.is_local:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    folder = store.local(f".scratch/{source.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another source is being read
            folder.parent.rmdir()


# Collecting: every record becomes a row of `photos`, `boxes` or `unread`, numbered in the order of the file.

_UNREAD = pa.schema(
    [
        ("item", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("photo_id", pa.string()),
        ("box_id", pa.string()),
        ("path", pa.string()),
        ("file_size", pa.int64()),
        ("file_mtime_ns", pa.int64()),
    ]
)


class _Collector:
    """Fills the database, many rows at a time."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._photos: list[Photo] = []
        self._boxes: list[PersonBox] = []
        self._unread: list[Unread] = []
        self.num: Counter[Item] = Counter()
        self._num_rows = 0
        self._create("photos", PHOTOS.append(pa.field("is_outside", pa.bool_())))
        self._create("boxes", BOXES)
        self._create("unread", _UNREAD)

    def _create(self, table: str, schema: pa.Schema) -> None:
        self._database.register("empty", schema.empty_table())
        self._database.execute(f"CREATE TABLE {table} AS SELECT *, 0::BIGINT AS seq FROM empty")

    def add(self, record: Records) -> None:
        """Take one record, or a batch of them."""
        if isinstance(record, PersonBox):
            self._boxes.append(record)
        elif isinstance(record, Photo):
            self._photos.append(record)
        elif isinstance(record, Unread):
            self._unread.append(record)
        elif record.schema.names == PHOTOS.names:
            self._add_photos(record)
        else:
            self._add_boxes(record)

    def flush(self) -> None:
        """Put what is waiting into the database."""
        if self._photos:
            photos, self._photos = self._photos, []
            self._add_photos(photos_batch(photos))
        if self._boxes:
            boxes, self._boxes = self._boxes, []
            self._add_boxes(boxes_batch(boxes))
        if self._unread:
            unread, self._unread = self._unread, []
            for row in unread:
                self.num[row.item] += 1
            self._insert("unread", _unread_batch(unread))

    def _add_photos(self, batch: pa.RecordBatch) -> None:
        is_outside = pa.array([leads_outside(path) for path in batch["path"].to_pylist()], pa.bool_())
        self._insert("photos", batch.append_column("is_outside", is_outside))
        self.num["photo"] += batch.num_rows

    def _add_boxes(self, batch: pa.RecordBatch) -> None:
        self._insert("boxes", batch)
        self.num["box"] += batch.num_rows

    def _insert(self, table: str, batch: pa.RecordBatch) -> None:
        seq = pa.array(np.arange(self._num_rows, self._num_rows + batch.num_rows))
        self._num_rows += batch.num_rows
        self._database.register("incoming", pa.Table.from_batches([batch]).append_column("seq", seq))
        self._database.execute(f"INSERT INTO {table} SELECT * FROM incoming")


def _unread_batch(rows: list[Unread]) -> pa.RecordBatch:
    """`rows` as columns; what is no Unicode is written with escapes."""
    escaped = [
        [v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v for v in row] for row in rows
    ]
    arrays = [
        pa.array(values, column.type) for values, column in zip(zip(*escaped, strict=True), _UNREAD, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_UNREAD)


def _collect(database: duckdb.DuckDBPyConnection, records: Iterable[Records], on_progress: OnProgress) -> Counter[Item]:
    """Put all records into the database; returns how many of each item there are."""
    database.execute("BEGIN")
    collector = _Collector(database)
    num_waiting = 0
    for record in records:
        collector.add(record)
        num_waiting += record.num_rows if isinstance(record, pa.RecordBatch) else 1
        if num_waiting >= ROWS_AT_ONCE:
            collector.flush()
            on_progress(num_waiting)
            num_waiting = 0
    collector.flush()
    database.execute("COMMIT")
    on_progress(num_waiting)
    return collector.num


# Judging: `photo_state` and `box_state` hold one row per row of `photos` and `boxes`; reason NULL = kept.


def _judge(database: duckdb.DuckDBPyConnection, source: Source, photos_per_shard: int) -> int:
    """Decide about every photo and box; returns the number of shards, a power of two."""
    for statement in _FIND_FAULTS:
        database.execute(statement)
    database.execute(_JUDGE_PHOTOS.format(needs_box=source.boxes_from == "annotations"))
    num_kept = _number(database, "SELECT count(*) FROM photo_state WHERE reason IS NULL")
    num_shards = 1
    while num_shards * photos_per_shard < num_kept:
        num_shards *= 2
    database.execute(f"CREATE MACRO shard_of(hash) AS coalesce(hash % {num_shards}::UBIGINT, 0)::INTEGER")
    database.execute("CREATE TABLE outcomes (reason VARCHAR, outcome VARCHAR)")
    database.executemany("INSERT INTO outcomes VALUES (?, ?)", [(str(r), str(r.outcome)) for r in Reason])
    return num_shards


def _number(database: duckdb.DuckDBPyConnection, query: str) -> int:
    row = database.execute(query).fetchone()
    assert row
    return int(row[0])


_FIND_FAULTS = (
    # md5, unlike the database's own hash, stays what it is in every version
    f"""
    CREATE TABLE listed AS
    SELECT seq, photo_id, md5_number_lower(photo_id) AS hash,
        CASE WHEN row_number() OVER (PARTITION BY photo_id ORDER BY seq) > 1 THEN '{Reason.DUPLICATE_PHOTO_ID}'
             WHEN is_outside THEN '{Reason.PATH_OUTSIDE_ROOT}' END AS reason
    FROM photos
    """,
    f"""
    CREATE TABLE known AS
    SELECT photo_id, hash, reason FROM listed WHERE reason IS DISTINCT FROM '{Reason.DUPLICATE_PHOTO_ID}'
    UNION ALL
    SELECT u.photo_id, md5_number_lower(u.photo_id), arg_min(u.reason, u.seq)
    FROM unread u ANTI JOIN photos USING (photo_id)
    WHERE u.item = 'photo' AND u.photo_id IS NOT NULL GROUP BY u.photo_id
    """,
    f"""
    CREATE TABLE cut AS
    SELECT count(*) > 0 AS is_cut FROM unread WHERE item = 'record' AND reason = '{Reason.ANNOTATIONS_CUT}'
    """,
    f"""
    CREATE TABLE box_state AS
    SELECT b.seq, b.photo_id, b.box_id, coalesce(known.hash, md5_number_lower(b.photo_id)) AS hash,
        bbox_xyxy_px[1] AS x_min, bbox_xyxy_px[2] AS y_min, bbox_xyxy_px[3] AS x_max, bbox_xyxy_px[4] AS y_max,
        CASE WHEN NOT (isfinite(x_min) AND isfinite(y_min) AND isfinite(x_max) AND isfinite(y_max)) THEN 'not finite'
             WHEN x_min >= x_max THEN 'no width' WHEN y_min >= y_max THEN 'no height' END AS fault,
        CASE WHEN known.photo_id IS NULL AND is_cut THEN '{Reason.ANNOTATIONS_CUT}'
             WHEN known.photo_id IS NULL THEN '{Reason.UNKNOWN_PHOTO_ID}'
             WHEN known.reason IS NOT NULL THEN known.reason
             WHEN fault IS NOT NULL THEN '{Reason.INVALID_BOX}' END AS reason
    FROM boxes b LEFT JOIN known USING (photo_id) CROSS JOIN cut
    """,
    # grouping first: a window over all boxes would have to sort them
    f"""
    UPDATE box_state SET reason = '{Reason.DUPLICATE_BOX}' WHERE seq IN (
        SELECT seq FROM box_state SEMI JOIN (
            SELECT photo_id, x_min, y_min, x_max, y_max FROM box_state
            WHERE reason IS NULL GROUP BY ALL HAVING count(*) > 1
        ) USING (photo_id, x_min, y_min, x_max, y_max)
        WHERE reason IS NULL
        QUALIFY row_number() OVER (PARTITION BY photo_id, x_min, y_min, x_max, y_max ORDER BY box_id, seq) > 1
    )
    """,
    """
    UPDATE box_state SET box_id = renamed.box_id FROM (
        SELECT seq, box_id || '~' || row_number() OVER same AS box_id
        FROM box_state SEMI JOIN (
            SELECT photo_id, box_id FROM box_state WHERE reason IS NULL GROUP BY ALL HAVING count(*) > 1
        ) USING (photo_id, box_id)
        WHERE reason IS NULL
        WINDOW same AS (PARTITION BY photo_id, box_id ORDER BY x_min, y_min, x_max, y_max)
        QUALIFY row_number() OVER same > 1
    ) AS renamed WHERE box_state.seq = renamed.seq
    """,
)

_JUDGE_PHOTOS = f"""
CREATE TABLE photo_state AS
SELECT seq, photo_id, hash,
    CASE WHEN reason IS NOT NULL THEN reason
         WHEN NOT {{needs_box}} OR has_kept THEN NULL
         WHEN has_kept IS NOT NULL THEN '{Reason.NO_BOX_LEFT}'
         WHEN is_cut THEN '{Reason.ANNOTATIONS_CUT}'
         ELSE '{Reason.NO_PERSON}' END AS reason
FROM listed LEFT JOIN (
    SELECT photo_id, bool_or(reason IS NULL) AS has_kept FROM (
        SELECT photo_id, reason FROM box_state
        UNION ALL SELECT photo_id, reason FROM unread WHERE item = 'box' AND photo_id IS NOT NULL
    ) GROUP BY photo_id
) USING (photo_id) CROSS JOIN cut
"""


# Writing: sorted by shard, then by the hash of the photo, in streams from which shard after shard is taken.

_KEPT_PHOTOS = f"""
SELECT shard_of(hash) AS shard, {", ".join(f"photos.{name}" for name in PHOTOS.names)}
FROM photos JOIN photo_state USING (seq) WHERE reason IS NULL ORDER BY shard, hash, photos.photo_id
"""

_KEPT_BOXES = f"""
SELECT shard_of(hash) AS shard, {", ".join(f"box_state.{n}" if n == "box_id" else f"boxes.{n}" for n in BOXES.names)}
FROM boxes JOIN box_state USING (seq) WHERE reason IS NULL
ORDER BY shard, hash, boxes.photo_id, box_state.box_id
"""

_LOST = """
SELECT shard_of(hash) AS shard, 'ingest' AS stage, '{source}' AS source, item, photo_id, box_id, path, outcome, reason,
    NULL::DOUBLE AS value, NULL::DOUBLE AS limit, detail, bbox_xyxy_px
FROM (
    SELECT md5_number_lower(photo_id) AS hash, item, photo_id, box_id, path, reason, detail,
        NULL::FLOAT[4] AS bbox_xyxy_px, seq FROM unread
    UNION ALL
    SELECT hash, 'photo', s.photo_id, NULL, path, reason, NULL, NULL, seq
    FROM photos JOIN photo_state s USING (seq) WHERE reason IS NOT NULL
    UNION ALL
    SELECT hash, 'box', s.photo_id, s.box_id, NULL, reason, if(reason = 'invalid_box', fault, NULL), bbox_xyxy_px, seq
    FROM boxes JOIN box_state s USING (seq) WHERE reason IS NOT NULL
) JOIN outcomes USING (reason)
ORDER BY shard, hash NULLS FIRST, photo_id, item, box_id, reason, detail, seq
"""

_UNREAD_FILES = """
SELECT shard_of(md5_number_lower(photo_id)) AS shard, path, file_size, file_mtime_ns
FROM unread JOIN outcomes USING (reason) WHERE item = 'photo' AND path IS NOT NULL AND outcome = 'failed'
ORDER BY shard, path
"""

_NUM_IN = """
SELECT shard, item, count(*) AS num FROM (
    SELECT shard_of(md5_number_lower(photo_id)) AS shard, 'photo' AS item FROM photos
    UNION ALL SELECT shard_of(md5_number_lower(photo_id)), 'box' FROM boxes
    UNION ALL SELECT shard_of(md5_number_lower(photo_id)), item FROM unread
) GROUP BY ALL ORDER BY shard, item
"""


class _Slices:
    """The rows of a query that starts with the column `shard` and is sorted by it, shard by shard."""

    def __init__(self, database: duckdb.DuckDBPyConnection, query: str) -> None:
        batches = database.cursor().sql(query).to_arrow_reader(ROWS_AT_ONCE)
        self._batches, self._empty = iter(batches), batches.schema.empty_table()
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


def _write(database: duckdb.DuckDBPyConnection, shards: list[Shard]) -> Iterator[StageReport]:
    source_name = shards[0].source
    photos, boxes, unread_files, num_in = (
        _Slices(database, query) for query in (_KEPT_PHOTOS, _KEPT_BOXES, _UNREAD_FILES, _NUM_IN)
    )
    lost = _Slices(database, _LOST.format(source=source_name))
    for shard in shards:
        tally = Tally("ingest", source_name, ITEMS)
        for row in num_in.take(shard.number).to_pylist():
            tally.enter(row["item"], row["num"])
        tables = {name: rows.take(shard.number) for name, rows in (("photos", photos), ("boxes", boxes), ("rejects", lost))}
        tally.keep("photo", len(tables["photos"]))
        tally.keep("box", len(tables["boxes"]))
        for (item, reason), num in _counted(tables["rejects"]).items():
            tally.lose(item, reason, num)
        unread = {row["path"]: _signature(row) for row in unread_files.take(shard.number).to_pylist()}
        with ShardWriter(shard, photos=PHOTOS, boxes=BOXES, rejects=REJECTS) as writer:
            for name, table in tables.items():
                for batch in table.to_batches():
                    writer[name].extend(batch)
            yield writer.commit(tally.report(), unread)


def _counted(rejects: pa.Table) -> dict[tuple[Item, Reason], int]:
    groups = rejects.group_by(["item", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return {(group["item"], Reason(group["reason"])): group["count_all"] for group in groups}


def _signature(row: dict[str, Any]) -> list[int] | None:
    return None if row["file_size"] is None else [row["file_size"], row["file_mtime_ns"]]


def _check_nothing_lost(source: Source, num_read: Counter[Item], reports: list[StageReport]) -> None:
    """Compare what the reader gave with what the shards account for: the database must have lost nothing."""
    for item in ITEMS:
        num_written = sum(report.counts[item].num_in for report in reports)
        if num_read[item] != num_written:
            raise CountsDoNotAddUpError(f"ingest/{source.name}: {num_read[item]} {item}s read, {num_written} written")
