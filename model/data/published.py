"""Tables of a snapshot while they are trained on: damaged is final, away is not."""

import contextlib
from collections.abc import Iterator

import pyarrow.parquet as pq

from storage.errors import DamagedFileError, DiskOrNetworkError
from storage.parquet import open_parquet
from storage.snapshot import MANIFEST, REMEDY
from storage.store import Store


@contextlib.contextmanager
def open_published(snapshot: Store, path: str) -> Iterator[pq.ParquetFile]:
    """A table of the snapshot that is the root of `snapshot`.

    Raises:
        DamagedFileError: it is missing or cannot be read, where the snapshot's other files are there.
        DiskOrNetworkError: the whole snapshot is away, as on a disk that is not mounted; or the disk failed.
    """
    try:
        with open_parquet(snapshot, path, REMEDY) as parquet:
            yield parquet
    except DamagedFileError as error:
        if snapshot.exists(MANIFEST):
            raise
        raise DiskOrNetworkError(f"{snapshot.root} is not there any more: make its disk available") from error
