"""Open Images V4 to V7: CSV files of normalised boxes, of classes and, optionally, of licences and authors.

Format: https://storage.googleapis.com/openimages/web/download_v7.html. Coordinates are shares of the photo's width
and height, which the CSV files do not name: they come from the photo's own header. Flags are 1, 0 or -1 = unknown; V2
has none of them, the Challenge of 2019 only IsGroupOf. `Confidence` is a dummy that is always 1, the columns `XClick…`
of V6 are the four clicked points: neither is read. `Rotation` is by how many degrees, counterclockwise, "the image and
boxes should be rotated" (https://storage.googleapis.com/openimages/web/2018-05-17-rotation-information.html).
"""

import contextlib
import csv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import InputError
from storage.frozen import HOW
from storage.reasons import Reason
from storage.schema import BOXES
from tasks.images.photo_header import HeaderTooShortError, NotAnImageError, read_header
from tasks.photos.photos import Photos
from tasks.sources.annotation_file import AnnotationFile
from tasks.sources.base import Source
from tasks.sources.csv_stream import ROW, csv_batches
from tasks.sources.labels import Labels, is_person, no_person_label
from tasks.sources.nested_labels import owners
from tasks.sources.recognise import expect_format
from tasks.sources.records import LISTED, MAX_SIDE_PX, Records, Unread, batch_of_columns, bbox_array, leads_outside
from tasks.sources.scratch_database import scratch_database

PERSON_CLASSES = ("Woman", "Man", "Girl", "Boy", "Person", "Human body")
"""Names of the classes that are people, the most special ones first."""
_GENERAL = ("Person", "Human body")

_COORDINATES = ("XMin", "YMin", "XMax", "YMax")
_FLAGS = {
    "IsOccluded": "occluded",
    "IsTruncated": "truncated",
    "IsGroupOf": "group",
    "IsDepiction": "depiction",
    "IsInside": "inside",
}
_BOX_COLUMNS = ("ImageID", "LabelName", *_COORDINATES)
_IMAGE_COLUMNS = ("ImageID", "OriginalURL", "OriginalLandingURL", "License", "Author", "Rotation")
_FLAG_VALUES = {b"0": 0, b"0.0": 0, b"false": 0, b"1": 1, b"1.0": 1, b"true": 1, b"-1": -1, b"-1.0": -1, b"": -1}

MEMORY_MB = 128
SORTED_ROWS = 65_536
HEADER_BYTES = 1 << 16

Size = tuple[int, int]


class OpenImagesSource(Source):
    """Open Images: `oidv6-train-annotations-bbox.csv`, the class names, and a flat folder of `<ImageID>.jpg`."""

    homepage: ClassVar[str] = "https://storage.googleapis.com/openimages/web/index.html"
    format: Literal["open_images"] = "open_images"
    boxes: Annotated[AnnotationFile, HOW]
    """CSV file of the boxes."""
    classes: Annotated[AnnotationFile, HOW]
    """CSV file of MIDs and class names, with or without a header, such as `class-descriptions-boxable.csv`."""
    image_ids: Annotated[AnnotationFile | None, HOW] = None
    """CSV file of the photos with their licence, author, addresses and rotation; photos that only this one names have
    no box."""
    labels: Labels = PERSON_CLASSES
    """Names of the classes that are people, compared without case."""

    def annotation_files(self) -> list[AnnotationFile]:
        """The two or three CSV files."""
        return [path for path in (self.boxes, self.classes, self.image_ids) if path]

    def read(self, scratch: Path, photos: Photos) -> Iterator[Records]:
        """See Source."""
        expect_format(self.boxes, self.format)
        classes = _Classes.of(self.labels)
        label_of_mid = self._person_classes(classes)
        with closing(scratch_database(scratch, MEMORY_MB)) as database:
            database.execute(_TABLES)
            yield from self._collect_image_ids(database)
            for people in _whole_photos(self._people_by_photo(database, label_of_mid)):
                if isinstance(people, Unread):
                    yield people
                else:
                    yield from self._boxes(people, classes, database, photos)
            yield from _photos(database.sql(_PHOTOS_WITH_PEOPLE))
            yield from _photos(database.sql(_PHOTOS_WITHOUT_PEOPLE))

    def _person_classes(self, classes: "_Classes") -> dict[str, int]:
        """MID → number in `classes.names`."""
        name_of_mid: dict[str, str] = {}
        with self.classes.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for mid, name in (row[:2] for row in csv.reader(file) if len(row) >= 2):
                if name_of_mid.setdefault(mid, name) != name:
                    raise InputError(f"{self.classes} names {mid} twice, {name_of_mid[mid]} and {name}: take one out")
        numbers = {name.casefold(): number for number, name in enumerate(classes.names)}
        found = {
            mid: numbers[name.strip().casefold()] for mid, name in name_of_mid.items() if is_person(name, self.labels)
        }
        if not found:
            raise InputError(no_person_label(self.classes, self.labels, name_of_mid.values()))
        return found

    def _people_by_photo(
        self, database: duckdb.DuckDBPyConnection, label_of_mid: dict[str, int]
    ) -> Iterator[pa.Table | Unread]:
        """The rows that are people, those of a photo together; the files are published like that."""
        found = self._people(database, label_of_mid)
        if self._is_sorted():
            yield from found
            return
        for people in found:
            if isinstance(people, Unread):
                yield people
            else:
                _insert(database, "people", people)
        for batch in database.cursor().sql("SELECT * FROM people ORDER BY photo_id").to_arrow_reader(SORTED_ROWS):
            yield pa.Table.from_batches([batch])

    def _is_sorted(self) -> bool:
        """Whether the photo ids of the boxes ascend."""
        last = b""
        for batch in csv_batches(self.boxes, ["ImageID"]):
            if isinstance(batch, pa.RecordBatch) and batch.num_rows:
                ids = batch["ImageID"]
                if ids[0].as_py() < last or not pc.all(pc.less_equal(ids[:-1], ids[1:]), min_count=0).as_py():
                    return False
                last = ids[-1].as_py()
        return True

    def _people(self, database: duckdb.DuckDBPyConnection, label_of_mid: dict[str, int]) -> Iterator[pa.Table | Unread]:
        """The rows that are people, in the order of the file; the ids of all photos go into the database."""
        mids = pa.array(label_of_mid, pa.binary())
        labels = pa.array(label_of_mid.values(), pa.int8())
        for batch in csv_batches(self.boxes, _BOX_COLUMNS, optional=tuple(_FLAGS)):
            if isinstance(batch, Unread):
                yield batch
                continue
            for piece in _typed(batch, mids, labels):
                if isinstance(piece, int):
                    detail = f"{self.boxes.name}:{piece}: a field is no number, or the id is no text"
                    yield Unread("record", Reason.BROKEN_RECORD, detail)
                else:
                    _insert(database, "listed", pa.table({"photo_id": piece.photo_ids.unique()}))
                    yield from (
                        Unread("field", Reason.UNREADABLE_FIELD, f"{self.boxes.name}:{row}: {detail}", photo_id)
                        for row, photo_id, detail in piece.odd_fields
                    )
                    yield piece.people

    def _collect_image_ids(self, database: duckdb.DuckDBPyConnection) -> Iterator[Unread]:
        if self.image_ids is None:
            return
        for batch in csv_batches(self.image_ids, _IMAGE_COLUMNS[:1], _IMAGE_COLUMNS[1:], lines_in_values=True):
            if isinstance(batch, Unread):
                yield batch
                continue
            is_given = set(batch.schema.names)
            columns = {
                name: _as_text(batch[name]) if name in is_given else pa.nulls(batch.num_rows, pa.string())
                for name in _IMAGE_COLUMNS
            }
            _insert(database, "listed", pa.table({"photo_id": columns["ImageID"]}))
            _insert(database, "images", pa.table(columns))
        database.execute("DELETE FROM listed WHERE photo_id = ''")
        for photo_id, rotation in database.execute(_ODD_ROTATIONS).fetchall():
            yield Unread("field", Reason.UNREADABLE_FIELD, f"{self.image_ids.name}: Rotation is {rotation!r}", photo_id)

    def _boxes(
        self, people: pa.Table, classes: "_Classes", database: duckdb.DuckDBPyConnection, photos: Photos
    ) -> Iterator[Records]:
        """The boxes of some complete photos, whose sizes go into the database."""
        encoded = people["photo_id"].chunk(0).dictionary_encode()
        photo = encoded.indices.to_numpy()
        sizes = [self._size_px(photo_id, photos) for photo_id in encoded.dictionary.to_pylist()]
        is_open = np.array([not isinstance(size, Unread) for size in sizes])
        pixels = np.array([(0, 0) if isinstance(size, Unread) else size for size in sizes], np.int32)
        width, height = (pa.array(values, mask=~is_open) for values in pixels.T)
        _insert(database, "sizes", pa.table({"photo_id": encoded.dictionary, "width_px": width, "height_px": height}))
        bodies, photo = _bodies(people, photo, classes)
        is_readable = is_open[photo]
        if is_readable.any():
            yield _in_pixels(bodies.filter(pa.array(is_readable)), pixels[photo[is_readable]])
        yield from (size for size in sizes if isinstance(size, Unread))
        box_ids = bodies["box_id"].to_pylist()
        for i in np.flatnonzero(~is_readable).tolist():
            why = sizes[photo[i]]
            assert isinstance(why, Unread)
            yield why._replace(item="box", box_id=box_ids[i])

    def _size_px(self, photo_id: str, photos: Photos) -> Size | Unread:
        """Width and height of a photo, from its first bytes where that is enough."""
        path = f"{photo_id}.jpg"
        if leads_outside(path):
            return Unread("photo", Reason.PATH_OUTSIDE_ROOT, path, photo_id, path=path)
        start = photos.start(path, HEADER_BYTES)
        if isinstance(start, bytes):
            with contextlib.suppress(ValueError):  # a long header, or something wrong with the file
                return self._upright(start)
        signature = photos.signature(path)
        lost = Unread("photo", Reason.NOT_AN_IMAGE, "", photo_id, path=path, signature=signature)
        data = photos.read(path)
        if not isinstance(data, bytes):
            return lost._replace(reason=data.reason, detail=data.detail or "")
        try:
            return self._upright(data)
        except NotAnImageError as error:
            return lost._replace(detail=str(error))
        except HeaderTooShortError as error:
            return lost._replace(reason=Reason.TRUNCATED_IMAGE, detail=str(error))

    def _upright(self, data: bytes) -> Size:
        header = read_header(data)
        size = header.width_px, header.height_px
        if max(size) > MAX_SIDE_PX:
            raise NotAnImageError(f"no image is {size[0]}x{size[1]} large")
        return size[::-1] if header.is_turned and self.exif_orientation == "apply" else size


_TABLES = f"""
CREATE TABLE listed (photo_id VARCHAR);
CREATE TABLE people (photo_id VARCHAR, label TINYINT,
    {", ".join(f"{name} DOUBLE" for name in _COORDINATES)}, {", ".join(f"{name} TINYINT" for name in _FLAGS)});
CREATE TABLE images ({", ".join(f"{name} VARCHAR" for name in _IMAGE_COLUMNS)});
CREATE TABLE sizes (photo_id VARCHAR, width_px INTEGER, height_px INTEGER);
"""

_PHOTOS_WITHOUT_PEOPLE = """
SELECT DISTINCT photo_id, photo_id || '.jpg' AS path FROM listed ANTI JOIN sizes USING (photo_id)
"""

# The photos of Open Images are all under this licence; the CSV gives its address only. Two rows that say different
# things of a photo come out as two photos, and the ingest refuses their id.
_PHOTOS_WITH_PEOPLE = """
SELECT photo_id, photo_id || '.jpg' AS path, width_px, height_px,
    CASE License WHEN 'https://creativecommons.org/licenses/by/2.0/' THEN 'CC BY 2.0' END AS licence,
    nullif(License, '') AS licence_url, nullif(Author, '') AS author,
    nullif(OriginalURL, '') AS photo_url, nullif(OriginalLandingURL, '') AS page_url,
    CASE TRY_CAST(Rotation AS DOUBLE) WHEN 0 THEN 1 WHEN 90 THEN 8 WHEN 180 THEN 3 WHEN 270 THEN 6 END::INTEGER
        AS orientation,
    'stored' AS boxes_refer_to
FROM (FROM sizes WHERE width_px IS NOT NULL) LEFT JOIN (
    SELECT DISTINCT * FROM images SEMI JOIN sizes ON ImageID = photo_id
) ON ImageID = photo_id
"""

_ODD_ROTATIONS = """
SELECT ImageID, Rotation FROM images
WHERE Rotation NOT IN ('', 'nan', 'NaN') AND coalesce(TRY_CAST(Rotation AS DOUBLE) NOT IN (0, 90, 180, 270), true)
"""


def _insert(database: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    database.register("incoming", rows)
    database.execute(f"INSERT INTO {table} SELECT * FROM incoming")
    database.unregister("incoming")


def _photos(found: duckdb.DuckDBPyRelation) -> Iterator[pa.RecordBatch]:
    for batch in found.to_arrow_reader(SORTED_ROWS):
        yield batch_of_columns(dict(zip(batch.schema.names, batch.columns, strict=True)), batch.num_rows, LISTED)


class _Parsed(NamedTuple):
    """Some rows of the boxes, typed."""

    photo_ids: pa.Array
    """Of all rows, people or not."""
    people: pa.Table
    odd_fields: list[tuple[int, str, str]]
    """Row, photo and what stands there instead of a flag."""


def _typed(batch: pa.RecordBatch, mids: pa.Array, labels: pa.Array) -> list[_Parsed | int]:
    """Ids of all photos and rows of all people; of a row that cannot be read only its number.

    Numbers are parsed a batch at a time; where one fails, halving the batch finds it.
    """
    try:
        return [_parsed(batch, mids, labels)]
    except pa.ArrowInvalid:
        if batch.num_rows == 1:
            is_blank = not any(batch[name][0].as_py() for name in _BOX_COLUMNS)
            return [] if is_blank else [batch[ROW][0].as_py()]
        half = batch.num_rows // 2
        return [*_typed(batch.slice(0, half), mids, labels), *_typed(batch.slice(half), mids, labels)]


def _parsed(batch: pa.RecordBatch, mids: pa.Array, labels: pa.Array) -> _Parsed:
    photo_ids = batch["ImageID"].cast(pa.string())
    if pc.min(pc.binary_length(photo_ids)).as_py() == 0:
        raise pa.ArrowInvalid("a row without an id")
    label = pc.take(labels, pc.index_in(batch["LabelName"], mids))
    is_person = label.is_valid()
    people = batch.filter(is_person)
    people_ids = photo_ids.filter(is_person)
    columns = {name: people[name].cast(pa.string()).cast(pa.float64()) for name in _COORDINATES}
    odd_fields = []
    for name in _FLAGS:
        columns[name], odd = _flags(people[name] if name in batch.schema.names else None, len(people_ids))
        odd_fields += [
            (people[ROW][i].as_py(), people_ids[i].as_py(), f"{name} is {people[name][i].as_py()[:40]!r}") for i in odd
        ]
    table = pa.table({"photo_id": people_ids, "label": label.filter(is_person), **columns})
    return _Parsed(photo_ids, table, odd_fields)


def _flags(values: pa.Array | None, num_rows: int) -> tuple[pa.Array, list[int]]:
    """1, 0 or -1 = unknown for every row, and the rows in which something else stands, which is unknown too."""
    if values is None:
        return pa.array(np.full(num_rows, -1, np.int8)), []
    encoded = values.dictionary_encode()
    meant = [_FLAG_VALUES.get(value.strip().lower()) for value in encoded.dictionary.to_pylist()]
    known = np.array([-1 if value is None else value for value in meant], np.int8)
    indices = encoded.indices.to_numpy()
    is_odd = np.array([value is None for value in meant], bool)
    odd = np.flatnonzero(is_odd[indices]).tolist() if is_odd.any() else []
    return pa.array(known[indices]), odd


def _as_text(values: pa.Array) -> pa.Array:
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([value.decode("utf-8", "replace") for value in values.to_pylist()], pa.string())


def _whole_photos(tables: Iterator[pa.Table | Unread]) -> Iterator[pa.Table | Unread]:
    """The same rows, cut so that all rows of a photo come together; photos stand one behind the other."""
    rest: pa.Table | None = None
    for table in tables:
        if isinstance(table, Unread):
            yield table
        elif len(table):
            table = pa.concat_tables([rest, table]) if rest is not None else table
            ids = table["photo_id"]
            start_of_last = pc.index(ids, ids[-1]).as_py()
            rest = table.slice(start_of_last)
            if start_of_last:
                yield table.slice(0, start_of_last).combine_chunks()
    if rest is not None:
        yield rest.combine_chunks()


class _Classes(NamedTuple):
    """The classes that are people; what is most special about a person has the smallest number."""

    names: tuple[str, ...]
    is_general: np.ndarray
    """(N,) whether a class is said of people of other classes too."""

    @classmethod
    def of(cls, labels: tuple[str, ...]) -> "_Classes":
        known = {name.casefold() for name in PERSON_CLASSES}
        names = (*PERSON_CLASSES, *(label for label in labels if label.casefold() not in known))
        return cls(names, np.array([name in _GENERAL for name in names]))


def _bodies(people: pa.Table, photo: np.ndarray, classes: _Classes) -> tuple[pa.Table, np.ndarray]:
    """One row per person, with all labels of the boxes that lie on the same body, and the photo's number of each."""
    shares = np.stack([people[name].to_numpy() for name in _COORDINATES], axis=1)
    label = people["label"].to_numpy()
    flags = np.stack([people[name].to_numpy() for name in _FLAGS], axis=1)
    owner = owners(photo, shares, label, people["IsGroupOf"].to_numpy(), classes.is_general)
    known = flags.copy()
    merged = np.flatnonzero(owner != np.arange(len(owner)))
    np.maximum.at(known, owner[merged], flags[merged])  # 1 before 0 before unknown
    stays = owner == np.arange(len(owner))
    bodies = {
        "photo_id": people["photo_id"].combine_chunks().filter(pa.array(stays)),
        "box_id": _box_ids(shares[stays], label[stays]),
        "labels": _label_lists(owner, label, stays, classes.names),
        "shares": pa.FixedSizeListArray.from_arrays(pa.array(shares[stays].ravel()), 4),
    }
    for name, values in zip(_FLAGS.values(), known[stays].T, strict=True):
        bodies[name] = pa.array(values > 0, mask=values < 0)
    return pa.table(bodies), photo[stays]


def _label_lists(owner: np.ndarray, label: np.ndarray, stays: np.ndarray, classes: tuple[str, ...]) -> pa.Array:
    """For every box that stays the names of all boxes that it stands for."""
    order = np.argsort(owner * len(classes) + label, kind="stable")
    ends = np.cumsum(np.bincount(owner, minlength=len(owner))[stays])
    names = pa.array(classes).take(pa.array(label[order]))
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]), pa.int32()), names)


def _box_ids(shares: np.ndarray, label: np.ndarray) -> pa.Array:
    """Open Images gives its boxes no id: 8 hexadecimal digits from coordinates and label, so that it outlives new rows.

    The mixing steps are those of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    mixed = label.astype(np.uint64)
    for bits in (shares + 0.0).view(np.uint64).T:
        mixed = (mixed ^ bits) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    digits = _HEXADECIMAL[(mixed >> np.uint64(32)).astype(">u4").view(np.uint8)]
    return pa.Array.from_buffers(pa.binary(8), len(mixed), [None, pa.py_buffer(digits)]).cast(pa.string())


_HEXADECIMAL = np.frombuffer(bytes(range(256)).hex().encode(), "S2")


def _in_pixels(bodies: pa.Table, size_px: np.ndarray) -> pa.RecordBatch:
    """`bodies` as columns of BOXES; `size_px` is (N, 2) width and height of each one's photo."""
    shares = bodies["shares"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
    bodies = bodies.drop_columns("shares").combine_chunks()
    columns = {name: bodies[name].chunk(0) for name in bodies.column_names}
    columns["bbox_xyxy_px"] = bbox_array((shares * np.tile(size_px, 2)).ravel())
    return batch_of_columns(columns, len(bodies), BOXES)
