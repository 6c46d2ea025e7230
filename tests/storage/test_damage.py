"""A byte that changed after it was written is noticed wherever it is read, and never taken for data."""

import pickle
import random

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from storage import parquet
from storage.digest import canonical_json
from storage.errors import DamagedFileError
from storage.evaluation import BenchmarkName, Evaluation, load_evaluation
from storage.known_weights import FILE, WeightsFile, remember, remembered
from storage.parquet import TableFacts
from storage.report import StageReport
from storage.run_record import RunRecord, read_run_record, run_record_path, write_run_record
from storage.schema import CROPS
from storage.sealed import write_record
from storage.shard import DamagedShardError, Shard, ShardWriter, remaking_damaged
from storage.store import Store
from tests.fake_shards import crop_row

NUMBERS = [name for name in CROPS.names if name != "image"]


def write(shard):
    with ShardWriter(shard, crops=CROPS) as out:
        for number in range(40):  # two row groups
            out["crops"].append(crop_row(number))
        return out.commit(StageReport(stage="crop", source="coco", counts={}))


@pytest.fixture
def shard(tmp_path):
    shard = Shard(Store(str(tmp_path)), "crop", "coco", 0, "0123456789ab")
    write(shard)
    return shard


@pytest.fixture
def flips(shard, monkeypatch):
    """Flips a bit of the table at some places, one at a time; a process that never looked at it comes to each."""

    def flips(places):
        path = shard.store.local(shard.table("crops"))
        whole, chance = path.read_bytes(), random.Random(3)
        for place in places(whole) if callable(places) else places:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            monkeypatch.setattr(parquet, "_compared", set())
            yield place
        path.write_bytes(whole)
        monkeypatch.setattr(parquet, "_compared", set())

    return flips


def in_a_picture(whole):
    """Places inside of the pixels of some pictures."""
    return [at + 200 for number in (0, 17, 39) if (at := whole.index(crop_row(number)["image"]["bytes"]))]


def anywhere(whole):
    tail = range(len(whole) - 300, len(whole))
    return [0, 3, *random.Random(0).sample(range(len(whole)), 150), *tail]


def test_no_flipped_bit_is_read_as_data(shard, flips):
    for _ in flips(anywhere):
        with pytest.raises(DamagedShardError, match=r"crops.parquet below .* delete crop/coco/00000-.*json there"):
            shard.read("crops")
        with pytest.raises(DamagedShardError):
            list(shard.batches("crops", ["crop_id", "image"]))
    assert shard.read("crops").num_rows == 40


def test_numbers_are_compared_without_reading_pictures(shard, flips):
    whole = shard.read("crops", NUMBERS)
    for _ in flips(in_a_picture):
        assert shard.read("crops", NUMBERS) == whole
        with pytest.raises(DamagedShardError):
            shard.read("crops")
    outside = []
    with shard.store.local(shard.table("crops")).open("rb") as file:
        footer = pq.read_metadata(file)
        for group in map(footer.row_group, range(2)):
            end = group.column(1).data_page_offset + group.column(1).total_compressed_size  # bytes and path: the image
            last = group.column(footer.num_columns - 1)
            outside += random.Random(1).sample(range(end, last.data_page_offset + last.total_compressed_size), 100)
        tail = file.seek(0, 2)
    for place in flips([0, *outside, *range(tail - 300, tail)]):
        with pytest.raises(DamagedShardError):
            shard.read("crops", NUMBERS)
            pytest.fail(f"byte {place}")


def test_a_picture_that_is_only_shown_tells_by_its_own_checksum(shard, flips):
    for _ in flips(in_a_picture):
        (row,) = [
            row
            for row in shard.take("crops", list(range(40)), ["crop_id", "image"])
            if row["image"]["bytes"] != crop_row(int(row["crop_id"][1:]))["image"]["bytes"]
        ]
        assert cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR) is None


def test_a_table_is_compared_once_per_process(shard, monkeypatch):
    read = []
    digest_of = parquet._digest_of
    monkeypatch.setattr(parquet, "_digest_of", lambda file, ranges: read.append(1) or digest_of(file, ranges))
    for _ in range(3):
        shard.read("crops")
    assert len(read) == 1


def test_a_table_of_an_older_version_is_compared_whole(shard, flips):
    marker = shard.manifest()
    facts = marker.tables["crops"].model_dump(exclude={"digest_without_images"})
    bare = {"report": marker.report, "unread_files": {}, "tables": {"crops": facts}}
    shard.store.write_text(shard.marker, canonical_json(bare))
    assert shard.is_done() and shard.manifest().tables["crops"] == TableFacts(**facts)
    for _ in flips(in_a_picture):
        with pytest.raises(DamagedShardError):
            shard.read("crops", NUMBERS)


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "null"])
def test_a_damaged_marker_is_no_marker(shard, how):
    path = shard.store.local(shard.marker)
    for damaged in damages(path.read_bytes())[how]:
        path.write_bytes(damaged)
        assert not shard.is_done(), damaged
        with pytest.raises(DamagedShardError, match=f"{shard.marker} below"):
            shard.report()


def damages(whole):
    places = random.Random(1).sample(range(len(whole)), 100)
    return {
        "cut": [whole[: len(whole) // 2], whole[:-2]],
        "empty": [b""],
        "flipped": [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places],
        "null": [b"null", b"[]", b"7", b"[" * 100_000],
    }


def test_a_damaged_shard_is_made_again_once(shard):
    path = shard.store.local(shard.table("crops"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    walks = []

    def walk():
        walks.append(shard.is_done())
        if not shard.is_done():
            write(shard)
        return shard.read("crops").num_rows

    assert remaking_damaged(walk) == 40 and walks == [True, False]
    assert path.read_bytes() == whole

    def damaged_again():
        raise DamagedShardError(shard, shard.table("crops"))

    with pytest.raises(DamagedShardError):
        remaking_damaged(damaged_again)


def test_the_error_comes_whole_out_of_a_worker(shard):
    error = pickle.loads(pickle.dumps(DamagedShardError(shard, shard.table("crops"))))
    assert error.shard == shard and str(error) == str(DamagedShardError(shard, shard.table("crops")))


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "null"])
def test_damaged_small_files_are_told_with_their_remedy_or_made_again(tmp_path, how):
    store = Store(str(tmp_path))
    (tmp_path / "musiq.pth").write_bytes(b"weights")
    remember(store, {"musiq": [WeightsFile.seen(tmp_path / "musiq.pth", "musiq.pth", "ab" * 32)]})
    reports = (StageReport(stage="s", source="x", counts={}),)
    write_run_record(store, RunRecord(name="people", snapshot=None, reports=reports))
    benchmark = BenchmarkName(id="val-0", digest="0", has_hq=True)
    about = {"metrics": {}, "primary": None, "num_images": 1, "num_failed": 0, "weights": {}, "notes": {}}
    found = Evaluation(id="m-0", label="m", kind="lq", benchmark=benchmark, code_version="1", **about)
    write_record(store, f"{found.path}/evaluation.json", found.model_dump(mode="json"))
    assert remembered(store) and read_run_record(store, "people") and load_evaluation(store, found.path) == found

    for damaged in damages((tmp_path / FILE).read_bytes())[how]:
        (tmp_path / FILE).write_bytes(damaged)
        assert remembered(store) == {}
    for path, read, remedy in (
        (run_record_path("people"), lambda: read_run_record(store, "people"), "run `persona curate` again"),
        (f"{found.path}/evaluation.json", lambda: load_evaluation(store, found.path), "delete it, and evaluate again"),
    ):
        for damaged in damages((tmp_path / path).read_bytes())[how]:
            (tmp_path / path).write_bytes(damaged)
            with pytest.raises(DamagedFileError, match=f"{path} below .*{remedy}"):
                read()


def test_small_files_of_older_versions_are_read(tmp_path):
    store = Store(str(tmp_path))
    store.write_text(FILE, '{"niqe":{"niqe.mat":"00"}}')  # without what tells whether the file is still the same
    assert remembered(store) == {}
    store.write_text(run_record_path("p"), '{"name":"p","reports":[],"snapshot":null}')
    assert read_run_record(store, "p").snapshot is None
