"""A CSV file batch by batch as Arrow columns of bytes; broken rows are set aside with their number."""

import csv
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from storage.errors import InputError
from storage.reasons import Reason
from tasks.sources.annotation_file import AnnotationFile
from tasks.sources.records import Unread

BLOCK_BYTES = 4 << 20
ROW = "row"
"""Name of the column with every row's number in the file, from 1, the header included."""


def csv_batches(
    path: AnnotationFile, columns: Sequence[str], optional: Sequence[str] = (), lines_in_values: bool = False
) -> Iterator[pa.RecordBatch | Unread]:
    """The named columns of a CSV file with a header, as bytes, and ROW; or Unread for what cannot be read.

    A row of another length costs itself. A line longer than BLOCK_BYTES, a quote that never ends, and a last row that
    breaks off cost the file: it counts as cut there.

    Args:
        path: the file; it may begin with a byte order mark, and texts may stand in double quotes if its header does.
        columns: every one of them has to be there.
        optional: given where the file has them.
        lines_in_values: whether quoted texts may hold line ends.

    Raises:
        ValueError: a column is missing.
    """
    header, first_row = _first_lines(path)
    for column in columns:
        if column not in header:
            raise InputError(f"{path} has no column {column}, only {', '.join(header) or 'none at all'}")
    columns = [*columns, *(column for column in optional if column in header)]
    skipped: list[pa_csv.InvalidRow] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        skipped.append(row)
        return "skip"

    read = pa_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    parse = pa_csv.ParseOptions(
        quote_char='"' if lines_in_values or '"' in first_row else False,
        newlines_in_values=lines_in_values,
        invalid_row_handler=skip,
        ignore_empty_lines=False,  # they would not be counted
    )
    convert = pa_csv.ConvertOptions(
        include_columns=columns, column_types=dict.fromkeys(columns, pa.binary()), strings_can_be_null=False
    )
    numbers = _RowNumbers()
    num_skipped = 0
    cut: Unread | None = None
    try:
        with path.open("rb") as file, pa_csv.open_csv(file, read, parse, convert) as batches:
            for batch in batches:
                for row in skipped[num_skipped:]:
                    numbers.skip(row.number)
                num_skipped = len(skipped)
                yield batch.append_column(ROW, pa.array(numbers.take(batch.num_rows), pa.int64()))
    except pa.ArrowInvalid as error:
        detail = f"{path.name}: cannot be read behind row {numbers.last}: {error}"
        cut = Unread("record", Reason.ANNOTATIONS_CUT, detail)
    if cut is None and skipped and skipped[-1].number > numbers.last and not _ends_with_newline(path):
        cut = _broken(path, skipped.pop())._replace(reason=Reason.ANNOTATIONS_CUT)
    yield from (_broken(path, row) for row in skipped)
    if cut:
        yield cut


def _first_lines(path: AnnotationFile) -> tuple[list[str], str]:
    """The names of the columns, and the first two lines as they are."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        line = file.readline(1 << 16)
        return next(csv.reader([line]), []), line + file.readline(1 << 16)


def _ends_with_newline(path: AnnotationFile) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() in b"\r\n"


def _broken(path: AnnotationFile, row: pa_csv.InvalidRow) -> Unread:
    detail = f"{path.name}:{row.number}: {row.actual_columns} columns instead of {row.expected_columns}"
    return Unread("record", Reason.BROKEN_RECORD, detail)


class _RowNumbers:
    """Numbers of the rows that were not skipped, while both kinds come in."""

    def __init__(self) -> None:
        self._next = 2  # the header is row 1
        self._skipped: list[int] = []

    def skip(self, number: int) -> None:
        """A row that no batch contains; told before the batch that it would have stood in."""
        self._skipped.append(number)

    @property
    def last(self) -> int:
        """Number of the last row that was taken."""
        return self._next - 1

    def take(self, num_rows: int) -> np.ndarray:
        """The numbers of the next rows."""
        skipped, last = 0, self._next + num_rows - 1
        while skipped < len(self._skipped) and self._skipped[skipped] <= last:
            skipped += 1
            last += 1
        numbers = np.arange(self._next, last + 1)
        numbers = numbers[~np.isin(numbers, self._skipped[:skipped])]
        del self._skipped[:skipped]
        self._next = last + 1
        return numbers
