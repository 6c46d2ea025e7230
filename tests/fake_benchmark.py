"""Small snapshots of real pictures, and the benchmarks that are made of them."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from storage.snapshot import Snapshot
from storage.store import Store
from tasks.images.perceptual_hash import perceptual_hash
from tasks.publish.publish import PublishConfig, plan_snapshot, publish
from tasks.select.select import select
from tasks.select.verdicts import SelectConfig
from tests.fake_shards import crop_row, write_shard


def square(photo: np.ndarray, side_px: int) -> np.ndarray:
    """The photo's upper left square at the wanted size."""
    side = min(photo.shape[:2])
    return cv2.resize(photo[:side, :side], (side_px, side_px), interpolation=cv2.INTER_AREA)


def squares(folder: Path, num: int, side_px: int) -> list[np.ndarray]:
    """Some real photos as squares."""
    return [square(cv2.imread(str(path)), side_px) for path in sorted(folder.glob("*.jpg"))[:num]]


def picture_row(number: int, picture: np.ndarray, **columns: object) -> dict[str, object]:
    """A row of CROPS that shows a real picture, with the hash that belongs to it."""
    png = cv2.imencode(".png", picture)[1].tobytes()
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    name = columns.get("crop_id", f"c{number:04d}")
    hashes = {"photo_phash": perceptual_hash(grey), "crop_phash": perceptual_hash(grey)}
    return crop_row(number, image={"bytes": png, "path": f"{name}.png"}, **{**hashes, **columns})


def snapshot_of(root: Path, pictures: list[np.ndarray], val_size: int) -> Snapshot:
    """A published snapshot of these pictures, each of a photo of its own."""
    store = Store(str(root))
    rows = [picture_row(i, picture) for i, picture in enumerate(pictures)]
    return published(store, {"niqe": {str(row["crop_id"]): float(i) for i, row in enumerate(rows)}}, rows, val_size)


def published(
    store: Store, values: Mapping[str, Mapping[str, float]], rows: list[dict[str, object]], val_size: int
) -> Snapshot:
    """All rows of one source as a snapshot, except near-duplicates."""
    scored = [write_shard(store, 0, rows, values)]
    config = SelectConfig(top_share=1.0, val_size=val_size)
    selection = select(store, scored, {"niqe": True}, config)
    about = {"config": PublishConfig(rows_per_shard=8, row_group_rows=4), "config_dump": {}, "weights": {}}
    reports = [shard.report() for shard in selection]
    return publish(plan_snapshot(store, "people", scored, selection, reports=reports, **about), "v1")
