"""The database in which one source's records are joined and judged: its tables, and what is asked of them.

`photos`, `boxes` and `unread` hold what the reader gave, numbered in the order of the file. `photo_state` and
`box_state` say what becomes of each row of the first two; a reason of NULL means that it is kept.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable

import duckdb
import numpy as np
import pyarrow as pa

from storage.reasons import Reason
from storage.report import Item
from storage.schema import BOXES, PHOTOS
from tasks.sources.records import LISTED, PersonBox, Photo, Records, Unread, boxes_batch, leads_outside, photos_batch

ROWS_AT_ONCE = 16_384
ROWS_PER_COMMIT = 500_000
"""Until its end a transaction holds every batch that was put in."""

OnProgress = Callable[[int], None]
"""Told how many records were read since it was last called."""


_UNREAD = pa.schema(
    [
        ("item", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("photo_id", pa.string()),
        ("box_id", pa.string()),
        ("path", pa.string()),
        ("signature", pa.string()),  # as JSON
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
        self._create("photos", LISTED.append(pa.field("is_outside", pa.bool_())))
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
        elif record.schema.names == LISTED.names:
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
        if (self._num_rows + batch.num_rows) // ROWS_PER_COMMIT > self._num_rows // ROWS_PER_COMMIT:
            self._database.execute("COMMIT; BEGIN")
        self._num_rows += batch.num_rows
        self._database.register("incoming", pa.Table.from_batches([batch]).append_column("seq", seq))
        self._database.execute(f"INSERT INTO {table} SELECT * FROM incoming")


def _unread_batch(rows: list[Unread]) -> pa.RecordBatch:
    """`rows` as columns; what is no Unicode is written with escapes."""
    rows = [row._replace(signature=row.signature and json.dumps(row.signature)) for row in rows]  # type: ignore[arg-type]
    escaped = [
        [v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v for v in row] for row in rows
    ]
    arrays = [pa.array(values, column.type) for values, column in zip(zip(*escaped, strict=True), _UNREAD, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_UNREAD)


def collect(database: duckdb.DuckDBPyConnection, records: Iterable[Records], on_progress: OnProgress) -> Counter[Item]:
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


def judge(
    database: duckdb.DuckDBPyConnection, where: Callable[[str], str | None], needs_box: bool, photos_per_shard: int
) -> int:
    """Decide about every photo and box; returns the number of shards, a power of two.

    Args:
        database: after `collect`.
        where: names the file that a path means, None where there is none.
        needs_box: a photo is kept only with a person box.
        photos_per_shard: no more photos than this should come into a shard, not counting those that are rejected for
            good; those that failed may come back.
    """
    database.execute("CREATE TABLE files (path VARCHAR, file VARCHAR)")
    for batch in database.cursor().execute(_PATHS_OF_ONE_NAME).to_arrow_reader(ROWS_AT_ONCE):
        paths = batch["path"].to_pylist()
        database.register("incoming", pa.table({"path": paths, "file": pa.array(map(where, paths), pa.string())}))
        database.execute("INSERT INTO files FROM incoming")
    for statement in _FIND_FAULTS:
        database.execute(statement)
    database.execute(_JUDGE_PHOTOS.format(needs_box=needs_box))
    database.execute("CREATE TABLE outcomes (reason VARCHAR, outcome VARCHAR)")
    database.executemany("INSERT INTO outcomes VALUES (?, ?)", [(str(r), str(r.outcome)) for r in Reason])
    num_photos = _number(database, _NUM_PHOTOS)
    num_bits = max(0, -(-num_photos // photos_per_shard) - 1).bit_length()
    # the first bits of the hash, so that rows sorted by it come shard by shard
    first_bits = f"hash >> {64 - num_bits}" if num_bits else "0"
    database.execute(f"CREATE MACRO shard_of(hash) AS coalesce({first_bits}, 0)::INTEGER")
    return 1 << num_bits


def _number(database: duckdb.DuckDBPyConnection, query: str) -> int:
    row = database.execute(query).fetchone()
    assert row
    return int(row[0])


# Only these can mean the same file: train/a.jpg and val/a.jpg where no more than one a.jpg lies there, a.jpg and a.png.
_PATHS_OF_ONE_NAME = r"""
WITH named AS (
    SELECT DISTINCT path, regexp_extract(path, '([^/\\\\]*?)(\.[A-Za-z0-9]{2,4})?(\?.*)?$', 1) AS name
    FROM photos WHERE NOT is_outside
)
SELECT path FROM named SEMI JOIN (SELECT name FROM named GROUP BY name HAVING count(*) > 1) USING (name)
"""

_FIND_FAULTS = (
    # Two records of one id or of one file are either the same word for word, or nobody knows whose the boxes are.
    """
    CREATE TABLE contested_ids AS
    WITH unread_photos AS (SELECT photo_id FROM unread WHERE item = 'photo' AND photo_id IS NOT NULL)
    SELECT photo_id FROM (
        SELECT photo_id FROM (
            SELECT DISTINCT * EXCLUDE seq FROM photos SEMI JOIN (
                SELECT photo_id FROM photos GROUP BY photo_id HAVING count(*) > 1
            ) USING (photo_id)
        )
        UNION ALL SELECT photo_id FROM photos SEMI JOIN unread_photos USING (photo_id)
        UNION ALL FROM unread_photos
    ) GROUP BY photo_id HAVING count(*) > 1
    """,
    """
    CREATE TABLE contested_paths AS
    SELECT path FROM photos GROUP BY path HAVING count(*) > 1 AND min(photo_id) <> max(photo_id)
    UNION
    SELECT path FROM files SEMI JOIN (
        SELECT file FROM files WHERE file IS NOT NULL GROUP BY file HAVING count(*) > 1
    ) USING (file)
    """,
    # md5, unlike the database's own hash, stays what it is in every version
    f"""
    CREATE TABLE listed AS
    SELECT seq, photo_id, md5_number_lower(photo_id) AS hash,
        CASE WHEN photo_id IN (FROM contested_ids) THEN '{Reason.CONTESTED_PHOTO_ID}'
             WHEN row_number() OVER (PARTITION BY photo_id ORDER BY seq) > 1 THEN '{Reason.DUPLICATE_PHOTO_ID}'
             WHEN is_outside THEN '{Reason.PATH_OUTSIDE_ROOT}'
             WHEN path IN (FROM contested_paths) THEN '{Reason.CONTESTED_PATH}' END AS reason
    FROM photos
    """,
    f"""
    CREATE TABLE known AS
    SELECT DISTINCT photo_id, hash, reason FROM listed WHERE reason IS DISTINCT FROM '{Reason.DUPLICATE_PHOTO_ID}'
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
    f"""
    UPDATE box_state SET reason = '{Reason.CONTESTED_BOX_ID}' WHERE seq IN (
        SELECT seq FROM box_state SEMI JOIN (
            SELECT photo_id, box_id FROM box_state WHERE reason IS NULL GROUP BY ALL HAVING count(*) > 1
        ) USING (photo_id, box_id)
        WHERE reason IS NULL
    )
    """,
)

_JUDGE_PHOTOS = f"""
CREATE TABLE photo_state AS
SELECT seq, photo_id, hash,
    CASE WHEN reason IS NOT NULL THEN reason
         WHEN NOT {{needs_box}} OR has_kept THEN NULL
         WHEN is_cut THEN '{Reason.ANNOTATIONS_CUT}'
         WHEN has_kept IS NOT NULL THEN '{Reason.NO_BOX_LEFT}'
         ELSE '{Reason.NO_PERSON}' END AS reason
FROM listed LEFT JOIN (
    SELECT photo_id, bool_or(reason IS NULL) AS has_kept FROM (
        SELECT photo_id, reason FROM box_state
        UNION ALL SELECT photo_id, reason FROM unread WHERE item = 'box' AND photo_id IS NOT NULL
    ) GROUP BY photo_id
) USING (photo_id) CROSS JOIN cut
"""


_NUM_PHOTOS = """
SELECT count(*) FROM (
    SELECT reason FROM photo_state
    UNION ALL SELECT u.reason FROM unread u ANTI JOIN photos USING (photo_id) WHERE item = 'photo'
) LEFT JOIN outcomes USING (reason) WHERE reason IS NULL OR outcome = 'failed'
"""

# What is written: every query starts with the shard and is sorted by it, most by the whole hash of the photo's id.

SAMPLED_PHOTOS = """
SELECT path, width_px, height_px FROM photos JOIN photo_state USING (seq)
WHERE reason IS NULL AND width_px <> height_px AND orientation IS NULL AND boxes_refer_to IS NULL
ORDER BY hash, path LIMIT {limit}
"""

_GIVEN = [name for name in PHOTOS.names if name != "boxes_refer_to"]

KEPT_PHOTOS = f"""
SELECT shard_of(hash) AS shard, {", ".join(f"photos.{name}" for name in _GIVEN)},
    coalesce(boxes_refer_to, {{boxes_refer_to}}) AS boxes_refer_to
FROM photos JOIN photo_state USING (seq) WHERE reason IS NULL ORDER BY hash, photos.photo_id
"""

KEPT_BOXES = f"""
SELECT shard_of(hash) AS shard, {", ".join(f"boxes.{name}" for name in BOXES.names)}
FROM boxes JOIN box_state USING (seq) WHERE reason IS NULL
ORDER BY hash, boxes.box_id, boxes.photo_id
"""

LOST = """
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
ORDER BY hash NULLS FIRST, photo_id, item, box_id, reason, detail, seq
"""

UNREAD_FILES = """
SELECT shard_of(md5_number_lower(photo_id)) AS shard, path, signature
FROM unread JOIN outcomes USING (reason) WHERE item = 'photo' AND path IS NOT NULL AND outcome = 'failed'
ORDER BY shard, path
"""

NUM_IN = """
SELECT shard, item, count(*) AS num FROM (
    SELECT shard_of(hash) AS shard, 'photo' AS item FROM listed
    UNION ALL SELECT shard_of(hash), 'box' FROM box_state
    UNION ALL SELECT shard_of(md5_number_lower(photo_id)), item FROM unread
) GROUP BY ALL ORDER BY shard, item
"""
