import json
import shutil

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from model.data.degradation import Recipe, degrade
from storage.benchmark import benchmark_at
from storage.snapshot import published_at, verify_snapshot
from tasks.benchmark import persona_val
from tasks.benchmark.persona_val import ValConfig, build_val, drawn
from tests.fake_benchmark import snapshot_of, squares
from tests.fake_shards import killed_at_rename


@pytest.fixture(scope="module")
def snapshot(shared_data, tmp_path_factory):
    pictures = squares(shared_data / "coco_mini/val2017", 24, 64)
    return snapshot_of(tmp_path_factory.mktemp("root"), pictures, val_size=12)


def rows_of(published, split="val"):
    folder = published.store.local(published.path) / split
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def bytes_of(published):
    folder = published.store.local(published.path)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.*"))
        if path.suffix != ".part"
    }


def moved(snapshot, root):
    """The same snapshot below another root."""
    shutil.copytree(snapshot.store.local(snapshot.path), root / snapshot.path)
    return published_at(str(root / snapshot.path))


def test_lq_is_what_the_stored_recipe_makes_of_hq(snapshot):
    val = {row["crop_id"]: row for row in rows_of(snapshot)}
    rows = rows_of(build_val(snapshot, ValConfig()))
    assert [row["crop_id"] for row in rows] == list(val)  # all of val, in its order
    assert len({row["recipe"] for row in rows}) == 12
    for row in rows:
        assert row["hq"] == val[row["crop_id"]]["image"]
        hq, lq = (cv2.imdecode(np.frombuffer(row[name]["bytes"], np.uint8), cv2.IMREAD_COLOR) for name in ("hq", "lq"))
        assert np.array_equal(degrade(hq, Recipe.model_validate_json(row["recipe"])), lq)
        assert not np.array_equal(hq, lq)
        assert {name: row[name] for name in ("niqe", "photo_phash", "licence")} == {
            name: val[row["crop_id"]][name] for name in ("niqe", "photo_phash", "licence")
        }


def test_a_second_build_is_the_same_to_the_byte(snapshot, tmp_path):
    first = build_val(snapshot, ValConfig(size=7))
    second = build_val(moved(snapshot, tmp_path), ValConfig(size=7))
    assert bytes_of(first) == bytes_of(second)
    assert verify_snapshot(first.store, first.path) == []


@pytest.mark.parametrize("rename", [0, 1])  # the first file, the manifest
def test_a_killed_build_goes_on_to_the_same_bytes(snapshot, tmp_path, rename):
    config = ValConfig(size=8)
    expected = bytes_of(build_val(snapshot, config))
    here = moved(snapshot, tmp_path)
    assert killed_at_rename(rename, build_val, here, config)
    assert not persona_val.planned_val(here, config).is_committed()
    assert bytes_of(build_val(here, config)) == expected


def test_a_smaller_benchmark_is_part_of_a_larger_one_and_a_seed_draws_others():
    ids = [f"c{i}" for i in range(1000)]
    small, large = drawn(ids, ValConfig(size=50)), drawn(reversed(ids), ValConfig(size=200))
    assert small < large
    assert (len(small), len(large)) == (50, 200)
    assert drawn(ids, ValConfig(size=50, seed=1)) != small


def test_a_snapshot_without_val_is_refused(shared_data, tmp_path):
    snapshot = snapshot_of(tmp_path, squares(shared_data / "coco_mini/val2017", 4, 64), val_size=0)
    with pytest.raises(ValueError, match=r"no val split: set select\.val_size"):
        build_val(snapshot, ValConfig())
    with pytest.raises(ValueError, match="is no benchmark"):
        benchmark_at(tmp_path / snapshot.path)


def test_it_opens_as_pictures(snapshot, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    benchmark = build_val(snapshot, ValConfig())
    files = str(benchmark.store.local(benchmark.path) / "val/*.parquet")
    opened = datasets.load_dataset("parquet", data_files={"val": files}, split="val")
    assert opened[0]["lq"].size == opened[0]["hq"].size == (64, 64)
    assert json.loads(opened[0]["recipe"])
