"""Training batches: one order for any number of workers and processes, resumable, and made by the item alone."""

from itertools import islice

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from model.data.degradation import degrade, draw_recipe, training
from model.data.item_rng import item_rng
from model.data.loader import train_loader, training_crop
from model.data.order import GROUPS_PER_WINDOW, crop_order
from storage.digest import sha256_of_file
from storage.schema import IMAGE, with_image_feature
from storage.shard import TableWriter
from storage.snapshot import FORMAT_VERSION, FileFacts, Snapshot
from storage.store import Store

SIDE_PX = 32
SCHEMA = with_image_feature(pa.schema([("image", IMAGE), pa.field("crop_id", pa.string(), nullable=False)]))


def picture_of(crop_id: str, side_px: int) -> np.ndarray:
    noise = item_rng("test", crop_id).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC)


def write_snapshot(root, rows_per_group: list[list[int]], side_px: int = SIDE_PX):
    """A published snapshot with one train file per inner list; returns its folder and its crops' ids."""
    snapshot = Snapshot(Store(str(root)), "toy-0123456789ab")
    files, ids = [], []
    for number, groups in enumerate(rows_per_group):
        path = f"train/{number:05d}.parquet"
        with snapshot.store.new_file(snapshot.file(path)) as aside:
            writer = TableWriter(aside, SCHEMA)
            for num_rows in groups:
                new = [f"crop-{len(ids) + i:04d}" for i in range(num_rows)]
                pngs = [cv2.imencode(".png", picture_of(crop_id, side_px))[1].tobytes() for crop_id in new]
                rows = [{"image": {"bytes": png}, "crop_id": i} for png, i in zip(pngs, new, strict=True)]
                writer.extend(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
                ids += new
            facts = writer.close()
            files.append(FileFacts(path, "train", facts.rows, facts.bytes, sha256_of_file(aside)))
    snapshot.commit({"format_version": FORMAT_VERSION, "files": files})
    return snapshot.store.local(snapshot.path), ids


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("root"), [[4, 4, 3], [4, 2]])


def batches(folder, num: int, **options):
    settings = {"batch_size": 4, "side_px": SIDE_PX, "seed": 7, "degradation": training()}
    return list(islice(train_loader(folder, **settings | options), num))


def assert_same(batch, other):
    assert (batch["crop_id"], batch["epoch"]) == (other["crop_id"], other["epoch"])
    assert torch.equal(batch["hq"], other["hq"]) and torch.equal(batch["lq"], other["lq"])


def test_every_epoch_holds_every_crop_once_in_another_order(toy):
    folder, ids = toy
    assert len(ids) == 17
    seen = [(e, i) for batch in batches(folder, 13) for e, i in zip(batch["epoch"], batch["crop_id"], strict=True)]
    epochs = [[i for epoch, i in seen if epoch == number] for number in range(3)]
    assert all(sorted(epoch) == ids for epoch in epochs)
    assert ids != epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_the_number_of_workers_changes_nothing(toy, num_workers):
    for one, other in zip(batches(toy[0], 7), batches(toy[0], 7, num_workers=num_workers), strict=True):
        assert_same(one, other)


def test_workers_start_after_opencv_has_used_its_threads(toy):
    """A forked process waits for ever for threads that it inherits: this test would not end."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    cv2.resize(np.zeros((512, 512, 3)), (700, 700), interpolation=cv2.INTER_CUBIC)
    assert len(batches(toy[0], 2, num_workers=2)) == 2
    assert cv2.getNumThreads() == 4
    cv2.setNumThreads(before)


def test_two_processes_share_the_batches_of_one(toy):
    shares = [batches(toy[0], 6, batch_size=2, rank=rank, world_size=2, num_workers=rank) for rank in (0, 1)]
    for whole, first, second in zip(batches(toy[0], 6), *shares, strict=True):
        assert whole["crop_id"] == first["crop_id"] + second["crop_id"]
        assert torch.equal(whole["lq"], torch.cat([first["lq"], second["lq"]]))


@pytest.mark.parametrize("start_step", [1, 3, 9])
def test_a_resumed_stream_goes_on_as_the_uninterrupted_one(toy, start_step):
    whole = batches(toy[0], start_step + 4)
    for one, other in zip(whole[start_step:], batches(toy[0], 4, start_step=start_step, num_workers=2), strict=True):
        assert_same(one, other)


def test_resuming_reads_no_earlier_picture(toy, monkeypatch):
    read = []
    monkeypatch.setattr(
        "model.data.loader.training_crop", lambda *a, **k: (read.append(a[0]), training_crop(*a, **k))[1]
    )
    later = batches(toy[0], 1, start_step=3)
    assert read == later[0]["crop_id"]


def test_crops_of_distant_row_groups_meet_and_windows_stay_small(tmp_path):
    folder, _ = write_snapshot(tmp_path, [[3] * (2 * GROUPS_PER_WINDOW + 5)], side_px=1)
    order = crop_order(Store(str(folder)), seed=0)
    windows = list(islice(order.windows(0), 3))
    assert [len(window.groups) for window in windows] == [GROUPS_PER_WINDOW, GROUPS_PER_WINDOW, 5]
    assert [window.start for window in windows] == [0, 96, 192]
    neighbours = np.diff(windows[0].rows)
    assert (np.abs(neighbours) == 1).mean() < 0.1  # in the order of the file all would be
    assert sorted(group.number for window in windows for group in window.groups) == list(range(69))
    assert next(order.windows(100)).start == 96


def test_values_are_those_of_the_crop_flipped_or_not(toy):
    flipped = 0
    for batch in batches(toy[0], 8):
        for crop_id, epoch, hq, lq in zip(batch["crop_id"], batch["epoch"], batch["hq"], batch["lq"], strict=True):
            picture = picture_of(crop_id, SIDE_PX)
            got = ((hq + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()[:, :, ::-1]
            mirrored = not np.array_equal(got, picture)
            flipped += mirrored
            assert np.array_equal(got, picture[:, ::-1] if mirrored else picture)
            expected = degrade(np.ascontiguousarray(got), draw_recipe(crop_id, epoch, 7, training()))
            assert np.array_equal(((lq + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()[:, :, ::-1], expected)
            assert hq.dtype == torch.float32 and hq.min() >= -1 and hq.max() <= 1
    assert 6 < flipped < 26  # of 32


def test_larger_crops_are_framed_at_every_scale():
    """A picture that holds its own coordinates shows which square was taken."""
    side = 256
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    png = cv2.imencode(".png", np.dstack([x, y, np.zeros_like(x)]).astype(np.uint8))[1].tobytes()
    sides = []
    for epoch in range(100):
        hq = training_crop("a", png, epoch, 0, side_px=64, degradation=training()).hq_bgr
        assert hq.shape == (64, 64, 3)
        columns, rows = hq[0, :, 0].astype(int), hq[:, 0, 1].astype(int)
        width, height = np.ptp(columns) + abs(columns[1] - columns[0]), np.ptp(rows) + rows[1] - rows[0]
        assert abs(width - height) <= 6
        sides.append(width)
    assert min(sides) < 80 and max(sides) > 220
    assert 0.3 < np.mean(np.array(sides) < 128) < 0.7  # half of them below the geometric middle


def test_what_is_wrong_is_told_in_one_sentence(toy, tmp_path):
    with pytest.raises(ValueError, match="is no snapshot"):
        train_loader(tmp_path, batch_size=1, side_px=8, seed=0, degradation=training())
    with pytest.raises(ValueError, match=r"32x32 pixels: make side_px 64 no more than that$"):
        batches(toy[0], 1, side_px=64, num_workers=1)
    empty, _ = write_snapshot(tmp_path / "empty", [])
    with pytest.raises(ValueError, match="has no train split"):
        batches(empty, 1)
    folder, _ = write_snapshot(tmp_path / "cut", [[2]])
    path = folder / "train/00000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="persona snapshot verify"):
        batches(folder, 1)
