"""A CSV file batch by batch as Arrow columns of bytes; broken rows are set aside with their number."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from storage.errors import InputError
from storage.reasons import Reason
from tasks.sources.records import Unread

BLOCK_BYTES = 4 << 20
ROW = "row"
"""Name of the column with every row's number in the file, from 1, the header included."""


def csv_batches(path: Path, columns: Sequence[str], quoted: bool) -> Iterator[pa.RecordBatch | Unread]:
    """The named columns of a CSV file with a header, as bytes, and ROW; or Unread for a row of another length.

    Args:
        path: the file.
        columns: every one of them has to be there; others may be.
        quoted: whether texts may stand in double quotes, with commas and line ends in them.

    Raises:
        ValueError: a column is missing.
    """
    _check_header(path, columns)
    skipped: list[pa_csv.InvalidRow] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        skipped.append(row)
        return "skip"

    read = pa_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    parse = pa_csv.ParseOptions(
        quote_char='"' if quoted else False,
        newlines_in_values=quoted,
        invalid_row_handler=skip,
        ignore_empty_lines=False,  # they would not be counted
    )
    convert = pa_csv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.binary()), strings_can_be_null=False
    )
    numbers = _RowNumbers()
    num_told = 0
    try:
        with pa_csv.open_csv(path, read, parse, convert) as batches:
            for batch in batches:
                for row in skipped[num_told:]:
                    yield _broken(path, row)
                    numbers.skip(row.number)
                num_told = len(skipped)
                yield batch.append_column(ROW, pa.array(numbers.take(batch.num_rows), pa.int64()))
    except pa.ArrowInvalid as error:  # such as a quote that never ends
        yield Unread("record", Reason.BROKEN_RECORD, f"{path.name}: the rest cannot be read: {error}")
    for row in skipped[num_told:]:
        yield _broken(path, row)


def _check_header(path: Path, columns: Sequence[str]) -> None:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader([file.readline(1 << 16)]), [])
    for column in columns:
        if column not in header:
            raise InputError(f"{path} has no column {column}, only {', '.join(header) or 'none at all'}")


def _broken(path: Path, row: pa_csv.InvalidRow) -> Unread:
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
