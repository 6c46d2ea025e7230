"""What a newer snapshot of a dataset adds to an older one."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import InputError
from storage.snapshot import MANIFEST, Snapshot, list_snapshots
from storage.store import Store


@dataclass(frozen=True)
class Growth:
    """Crops of a snapshot's train split."""

    num_crops: int
    num_new: int  # not in the older snapshot's train split

    @property
    def share(self) -> float:
        """New ones per crop."""
        return self.num_new / self.num_crops if self.num_crops else 0.0


def newest_snapshot(store: Store, dataset: str) -> Snapshot:
    """The snapshot of a dataset that was committed last.

    Raises:
        ValueError: there is none.
    """
    snapshots = [s for s in list_snapshots(store) if s.manifest().name == dataset]
    if not snapshots:
        raise InputError(
            f"there is no snapshot of {dataset} below {store.full('snapshots')}: run `persona curate` first"
        )

    def committed(snapshot: Snapshot) -> tuple[int, str]:
        info = store.filesystem.get_file_info(store.full(snapshot.file(MANIFEST)))
        return info.mtime_ns or 0, snapshot.id

    return max(snapshots, key=committed)


def growth(newer: Snapshot, older: Snapshot | None) -> Growth:
    """How many training crops are new; all of them where there is no older snapshot, or where it was removed.

    Crops keep their ids from one snapshot to the next, so no picture is opened.
    """
    ids = _train_ids(newer)
    if older is None or not older.is_committed():
        return Growth(len(ids), len(ids))
    known = pc.is_in(ids, value_set=_train_ids(older))
    return Growth(len(ids), len(ids) - (pc.sum(known).as_py() or 0))


def _train_ids(snapshot: Snapshot) -> pa.Array:
    files = [file.path for file in snapshot.manifest().of_split("train")]
    tables = [_crop_ids(snapshot, path) for path in files]
    if not tables:
        return pa.array([], pa.string())
    return pa.concat_tables(tables)["crop_id"].combine_chunks()


def _crop_ids(snapshot: Snapshot, path: str) -> pa.Table:
    with snapshot.open(path) as parquet:
        return parquet.read(columns=["crop_id"])
