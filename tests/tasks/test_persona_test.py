import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from storage.benchmark import benchmark_at, has_hq
from storage.snapshot import verify_snapshot
from storage.store import Store
from tasks.benchmark.persona_test_set import SampleConfig, TrainPhotos, build_test, sample
from tasks.publish.audit import audit
from tests.fake_benchmark import picture_row, published, squares
from tests.fake_shards import write_shard

DIRECTIONS = {"clipiqa": False, "niqe": True}
LIMITS = {"clipiqa": 0.5, "niqe": 4.0}


@pytest.fixture(scope="module")
def pictures(shared_data):
    return squares(shared_data / "coco_mini/train2017", 20, 64)


@pytest.fixture
def train(pictures, tmp_path):
    rows = [picture_row(i, picture) for i, picture in enumerate(pictures[:4])]
    return TrainPhotos.of(
        published(Store(str(tmp_path / "train")), {"niqe": {r["crop_id"]: 1.0 for r in rows}}, rows, 0)
    )


@pytest.fixture
def scored(pictures, tmp_path):
    """Crops of voc: 0 and 1 are photos of train; 4 and 5 are too good; 6 lacks a value; the rest is of low quality."""
    numbers = [0, 1, *range(4, 20)]
    rows = [picture_row(i, pictures[i], source="voc", crop_id=f"v{i:02d}") for i in numbers]
    clipiqa = {f"v{i:02d}": 0.9 if i == 4 else 0.5 if i == 7 else 0.2 for i in numbers if i != 6}
    niqe = {f"v{i:02d}": 3.0 if i == 5 else 4.0 if i == 7 else 6.0 for i in numbers}
    return [write_shard(Store(str(tmp_path / "root")), 0, rows, {"clipiqa": clipiqa, "niqe": niqe})]


def drawn_and_lost(shards):
    drawn = {row["crop_id"] for shard in shards for row in shard.read("drawn").to_pylist()}
    lost = {row["detail"].split()[1].rstrip(":"): row for s in shards for row in s.read("rejects").to_pylist()}
    return drawn, lost


def test_every_crop_is_drawn_or_has_a_reason(scored, train):
    store = scored[0].crops.store
    shards = sample(store, scored, train, DIRECTIONS, SampleConfig(limits=LIMITS, size=10))
    drawn, lost = drawn_and_lost(shards)
    assert len(drawn) == 10
    assert lost.keys() | drawn == {f"v{i:02d}" for i in (0, 1, *range(4, 20))}
    reasons = {crop_id: row["reason"] for crop_id, row in lost.items() if row["reason"] != "not_drawn"}
    assert reasons == {
        "v00": "photo_in_train",
        "v01": "photo_in_train",
        "v04": "good_quality",
        "v05": "good_quality",
        "v06": "not_scored",
    }
    assert (lost["v05"]["value"], lost["v05"]["limit"]) == (3.0, 4.0)
    assert "like the photo of crop c0000" in lost["v00"]["detail"]
    counts = shards[0].report().counts["crop"]
    assert (counts.num_in, counts.num_kept, counts.num_rejected, counts.num_failed) == (18, 10, 7, 1)


def test_a_crop_at_its_limits_is_still_of_low_quality(scored, train):
    config = SampleConfig(limits=LIMITS)
    drawn, _ = drawn_and_lost(sample(scored[0].crops.store, scored, train, DIRECTIONS, config))
    assert "v07" in drawn


def test_the_draw_depends_on_seed_and_ids_alone(scored, train):
    store = scored[0].crops.store

    def draw(**config):
        return drawn_and_lost(sample(store, scored, train, DIRECTIONS, SampleConfig(limits=LIMITS, **config)))[0]

    assert draw(size=5) < draw(size=9)
    assert draw(size=5) != draw(size=5, seed=1)


def test_the_benchmark_holds_the_drawn_crops_and_shares_nothing_with_train(scored, train, pictures):
    store = scored[0].crops.store
    sampled = sample(store, scored, train, DIRECTIONS, SampleConfig(limits=LIMITS, size=6))
    reports = [shard.report() for shard in sampled]
    benchmark = build_test(store, "persona-test", scored, sampled, about={}, reports=reports)
    assert build_test(store, "persona-test", scored, sampled, about={}, reports=reports) == benchmark
    folder = store.local(benchmark.path)
    rows = pq.read_table(folder / "test/00000.parquet").to_pylist()
    crops = {row["crop_id"]: row for row in scored[0].crops.read("crops").to_pylist()}
    assert {row["crop_id"] for row in rows} == drawn_and_lost(sampled)[0]
    assert all(row["lq"] == crops[row["crop_id"]]["image"] and row["clipiqa"] <= 0.5 for row in rows)
    assert verify_snapshot(store, benchmark.path) == []
    assert not has_hq(benchmark_at(folder).manifest())
    assert audit([train.snapshot, benchmark])[0] == []


def test_limits_are_asked_for_and_must_be_scored(scored, train):
    with pytest.raises(ValidationError):
        SampleConfig(limits={})
    with pytest.raises(ValueError, match=r"sample\.limits names 'musiq', which was not computed"):
        sample(scored[0].crops.store, scored, train, DIRECTIONS, SampleConfig(limits={"musiq": 60}))
