import pickle
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash

from storage.report import Tally
from storage.schema import REJECTS, SCORES
from storage.shard import Shard, ShardWriter
from storage.snapshot import FORMAT_VERSION, FileFacts, Snapshot, list_snapshots, verify_snapshot
from storage.store import Store
from tasks.publish.publish import PublishConfig, plan_snapshot, publish
from tasks.select.select import select
from tasks.select.verdicts import SelectConfig
from tests.fake_shards import LOWER_IS_BETTER, killed_at_rename, two_sources


def report(num=2):
    tally = Tally("score/niqe", "coco", ("crop",))
    tally.enter("crop", num)
    tally.keep("crop", num)
    return tally.report()


def write(shard, values=(1.0, 2.0)):
    with ShardWriter(shard, scores=SCORES, rejects=REJECTS) as out:
        for i, value in enumerate(values):
            out["scores"].append({"crop_id": f"c{i}", "metric": "niqe", "value": value})
        return out.commit(report(len(values)), {"a.jpg": [3, 4], "b.jpg": None})


def shard_in(root):
    return Shard(Store(str(root)), "score/niqe", "coco", 3, "0123456789ab")


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_a_shard_comes_back_as_it_was_written(tmp_path):
    shard = shard_in(tmp_path)
    assert not shard.is_done()
    assert write(shard) == shard.report() == report()
    assert shard.is_done()
    assert files_in(tmp_path) == [f"{shard.name}.json", f"{shard.name}.rejects.parquet", f"{shard.name}.scores.parquet"]
    assert shard.read("scores").to_pylist()[1] == {"crop_id": "c1", "metric": "niqe", "value": 2.0}
    assert shard.read("rejects").num_rows == 0 and shard.read("rejects").schema == REJECTS
    assert shard.num_rows("scores") == 2
    assert shard.manifest().unread_files == {"a.jpg": [3, 4], "b.jpg": None}
    content = (tmp_path / shard.table("scores")).read_bytes()
    assert shard.digest_of("scores") == xxhash.xxh3_128_hexdigest(content)


def test_equal_content_gives_equal_bytes_and_digests(tmp_path):
    for name in "ab":
        write(shard_in(tmp_path / name))
    for path in files_in(tmp_path / "a"):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    write(shard_in(tmp_path / "c"), (1.0, 2.5))
    assert shard_in(tmp_path / "c").digest_of("scores") != shard_in(tmp_path / "a").digest_of("scores")


def test_a_table_of_another_size_or_none_is_not_done(tmp_path):
    shard = shard_in(tmp_path)
    write(shard)
    table = tmp_path / shard.table("scores")
    table.write_bytes(table.read_bytes()[:-1])
    assert not shard.is_done()
    table.unlink()
    assert not shard.is_done()


def test_an_exception_or_a_forgotten_commit_leaves_nothing(tmp_path):
    shard = shard_in(tmp_path)
    with pytest.raises(ZeroDivisionError), ShardWriter(shard, scores=SCORES) as out:
        out["scores"].append({"crop_id": "c", "metric": "m", "value": 1 / 0})
    with ShardWriter(shard, scores=SCORES) as out:
        out["scores"].append({"crop_id": "c", "metric": "m", "value": 1.0})
    assert files_in(tmp_path) == [] and not shard.is_done()


@pytest.mark.parametrize("num_renames", [0, 1, 2])
def test_a_kill_leaves_a_shard_that_is_not_done_and_a_rerun_that_is_the_same(tmp_path, num_renames):
    assert killed_at_rename(num_renames, write, shard_in(tmp_path / "a"))
    shard = shard_in(tmp_path / "a")
    assert not shard.is_done()
    assert len(shard.store.files("")) == num_renames  # what has its name is whole
    assert len(files_in(tmp_path / "a")) > num_renames
    shard.store.sweep()
    assert len(files_in(tmp_path / "a")) == num_renames
    write(shard)
    write(shard_in(tmp_path / "b"))
    assert [(tmp_path / "a" / f).read_bytes() for f in files_in(tmp_path / "a")] == [
        (tmp_path / "b" / f).read_bytes() for f in files_in(tmp_path / "b")
    ]


def test_row_groups_are_read_one_by_one(tmp_path):
    shard = shard_in(tmp_path)
    with ShardWriter(shard, scores=SCORES) as out:
        for part in ([1.0, 2.0], [3.0], []):
            columns = [["c"] * len(part), ["m"] * len(part), part]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, SCORES, strict=True)]
            out["scores"].extend(pa.RecordBatch.from_arrays(arrays, schema=SCORES))
        out.commit(report(3))
    assert [batch["value"].to_pylist() for batch in shard.batches("scores", ["value"])] == [[1.0, 2.0], [3.0]]


@pytest.fixture
def s3_root(s3_address):
    return f"s3://people/some/root?{s3_address}"


def test_a_root_on_s3_holds_the_same_bytes_as_a_folder(tmp_path, s3_root):
    def everything(root):
        store = Store(root)
        scored = two_sources(store, 9)
        selection = select(store, scored, LOWER_IS_BETTER, SelectConfig(val_size=1))
        about = {"config": PublishConfig(), "config_dump": {}, "reports": [], "weights": {}, "code_version": "v1"}
        code_version = about.pop("code_version")
        return publish(plan_snapshot(store, "people", scored, selection, **about), code_version)

    local, remote = everything(str(tmp_path)), everything(s3_root)
    assert remote.store.full("x") == "people/some/root/x"
    assert local.id == remote.id
    assert local.store.files("") == remote.store.files("") == files_in(tmp_path)
    for path in local.store.files(""):
        with remote.store.filesystem.open_input_file(remote.store.full(path)) as file:
            assert file.read() == (tmp_path / path).read_bytes(), path
    again = pickle.loads(pickle.dumps(remote.store))  # as a worker process gets it
    assert list_snapshots(again) == [remote] and verify_snapshot(again, remote.path) == []
    assert everything(s3_root) == remote


def test_an_exception_leaves_nothing_on_s3(s3_root):
    shard = Shard(Store(s3_root), "score/broken", "coco", 0, "k")
    with pytest.raises(ZeroDivisionError), ShardWriter(shard, scores=SCORES) as out:
        out["scores"].append({"crop_id": "c", "metric": "m", "value": 1 / 0})
    assert shard.store.files("score/broken") == []
    with pytest.raises(ValueError, match="not a local folder"):
        shard.store.local()


def test_a_changed_file_on_s3_is_found(s3_root):
    snapshot = Snapshot(Store(s3_root), "small-0123456789ab")
    snapshot.store.write_text(snapshot.file("README.md"), "hello")
    wrong = FileFacts("README.md", None, None, 5, "00" * 32)
    snapshot.commit({"format_version": FORMAT_VERSION, "files": [wrong]})
    assert verify_snapshot(snapshot.store, snapshot.path) == [
        "README.md was changed after it was published: its SHA-256 differs."
    ]
