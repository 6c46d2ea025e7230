import json
import multiprocessing

import datasets
import mlcroissant
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from storage.snapshot import facts_of_written, list_snapshots, verify_snapshot
from storage.store import Store
from tasks.publish import publish as publishing
from tasks.publish.publish import PublishConfig, commit_snapshot, plan_snapshot, publish, published_schema, write_part
from tasks.select.select import select
from tasks.select.verdicts import SelectConfig
from tests.fake_shards import LOWER_IS_BETTER, killed_at_rename, png_of, two_sources

NUM_KEPT, NUM_VAL = 20, 5
CONFIG = PublishConfig(rows_per_shard=6, row_group_rows=4)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def prepared(root):
    store = Store(str(root))
    scored = two_sources(store)
    config = SelectConfig(top_share=NUM_KEPT / 24, val_size=NUM_VAL)
    selection = select(store, scored, LOWER_IS_BETTER, config)
    about = {
        "config": CONFIG,
        "config_dump": {"select": config.model_dump(mode="json")},
        "reports": [shard.report() for shard in selection],
        "weights": {"musiq.pth": "ab" * 32},
    }
    return store, scored, selection, about


def published(root, **other):
    store, scored, selection, about = prepared(root)
    code_version = other.pop("code_version", "v1")
    return publish(plan_snapshot(store, "people", scored, selection, **{**about, **other}), code_version)


def bytes_of(snapshot):
    folder = snapshot.store.local(snapshot.path)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def expected_rows(root):
    _, scored, selection, _ = prepared(root)
    crops = {row["crop_id"]: row for s in scored for row in s.crops.read("crops").to_pylist()}
    for shard in scored:
        for metric, scores in shard.scores.items():
            for row in scores.read("scores").to_pylist():
                crops[row["crop_id"]][metric] = row["value"]
    chosen = [row for shard in selection for row in shard.read("selection").to_pylist() if row["split"]]
    return {
        split: {r["crop_id"]: {**crops[r["crop_id"]], "score": r["score"]} for r in chosen if r["split"] == split}
        for split in ("train", "val")
    }


def test_rows_are_the_chosen_crops_with_their_scores(tmp_path):
    snapshot = published(tmp_path)
    expected = expected_rows(tmp_path)
    for split in ("train", "val"):
        tables = [pq.read_table(path) for path in sorted(tmp_path.glob(f"{snapshot.path}/{split}/*.parquet"))]
        rows = pa.concat_tables(tables).to_pylist()
        assert {row["crop_id"]: row for row in rows} == expected[split]
        assert len(rows) == len(expected[split]) == {"train": NUM_KEPT - NUM_VAL, "val": NUM_VAL}[split]
        assert [t.num_rows for t in tables] == {"train": [6, 6, 3], "val": [5]}[split]
    first = pq.ParquetFile(tmp_path / snapshot.path / "train/00000.parquet")
    assert [first.metadata.row_group(i).num_rows for i in range(first.num_row_groups)] == [4, 2]
    pixels = first.metadata.row_group(0).column(0)
    assert (pixels.path_in_schema, pixels.compression, pixels.has_dictionary_page) == (
        "image.bytes",
        "UNCOMPRESSED",
        False,
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_opens_it_as_pictures_without_further_code(tmp_path, streaming):
    folder = tmp_path / published(tmp_path).path
    files = {split: str(folder / split / "*.parquet") for split in ("train", "val")}
    splits = datasets.load_dataset("parquet", data_files=files, streaming=streaming)
    seen = 0
    for split, expected in expected_rows(tmp_path).items():
        for row in splits[split]:
            picture, wanted = row.pop("image"), expected[row["crop_id"]]
            assert row == {name: value for name, value in wanted.items() if name != "image"}
            reference = np.random.default_rng(int(row["crop_id"][1:])).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            assert png_of(int(row["crop_id"][1:])) == wanted["image"]["bytes"]
            assert np.array_equal(np.asarray(picture), reference[:, :, ::-1])  # OpenCV's channels are blue first
            seen += 1
    assert seen == NUM_KEPT


def test_datasets_opens_the_folder_by_its_card(tmp_path):
    snapshot = published(tmp_path)
    loaded = datasets.load_dataset(str(tmp_path / snapshot.path))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 15, "val": 5}
    assert loaded["train"].features == datasets.Features.from_arrow_schema(published_schema(list(LOWER_IS_BETTER)))
    card = (tmp_path / snapshot.path / "README.md").read_text()
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["task_categories"] == ["image-to-image"] and header["license"] == "other"
    for told in (
        "2.8659",
        "| coco | ",
        "CC BY 2.0",
        "below_top_share".replace("_", " ")[:5],
        "musiq.pth",
        "v1",
        "2.0000",
    ):
        assert told in card


def test_croissant_is_valid_and_reads_the_rows(tmp_path, caplog):
    snapshot = published(tmp_path)
    path = tmp_path / snapshot.path / "croissant.json"
    metadata = mlcroissant.Dataset(jsonld=str(path))
    assert not metadata.metadata.issues.errors
    hashes = {file.path: file.sha256 for file in snapshot.manifest().files}
    objects = [d for d in json.loads(path.read_text())["distribution"] if d["@type"] == "cr:FileObject"]
    assert len(objects) == 4 and all(hashes[d["contentUrl"]] == d["sha256"] for d in objects)
    val = list(metadata.records("val"))
    assert {row["val/crop_id"].decode() for row in val} == set(expected_rows(tmp_path)["val"])
    assert val[0]["val/image"].size == (16, 16)


def test_manifest_says_what_it_is_and_where_it_came_from(tmp_path):
    snapshot = published(tmp_path)
    manifest = snapshot.manifest()
    assert snapshot.id.startswith("people-") and len(snapshot.id) == len("people-") + 12
    assert manifest.code_version == "v1" and manifest.weights == {"musiq.pth": "ab" * 32}
    assert sum(report.counts["crop"].num_kept for report in manifest.funnel) == NUM_KEPT
    assert sum(sum(counts.values()) for counts in manifest.contents["rows"].values()) == NUM_KEPT
    assert {row.metric for row in manifest.statistics} == {"clipiqa", "niqe", "score"}
    assert verify_snapshot(snapshot.store, snapshot.path) == []
    assert list_snapshots(snapshot.store) == [snapshot]


def test_the_id_depends_on_what_is_said_but_not_on_the_code_version(tmp_path):
    first = published(tmp_path)
    before = bytes_of(first)
    assert published(tmp_path, code_version="v2") == first
    assert bytes_of(first) == before
    assert published(tmp_path, config_dump={"select": "other"}).id != first.id
    assert len(list_snapshots(first.store)) == 2


@pytest.mark.parametrize("num_files", [0, 3, 9])
def test_a_killed_run_leaves_no_snapshot_and_its_rerun_the_same_bytes(tmp_path, num_files):
    store, scored, selection, about = prepared(tmp_path / "b")
    plan = plan_snapshot(store, "people", scored, selection, **about)
    assert killed_at_rename(num_files, publish, plan, "v1")
    assert list_snapshots(store) == []
    assert len(store.files("snapshots")) + len(store.files("parts")) == num_files
    for path in store.files("snapshots")[::2]:  # and what lies there was damaged since
        whole = store.local(path).read_bytes()
        store.local(path).write_bytes(whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])
    store.sweep()
    assert bytes_of(published(tmp_path / "b")) == bytes_of(published(tmp_path / "a"))


def test_parts_are_independent_and_progress_adds_up(tmp_path):
    store, scored, selection, about = prepared(tmp_path)
    plan = plan_snapshot(store, "people", scored, selection, **about)
    told = []
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:  # what a worker process gets is pickled
        last = pool.map(write_part, plan.parts[::-1][:1])
    facts = last + [write_part(part, told.append) for part in plan.parts[::-1][1:]]
    assert sum(told) == sum(part.num_rows for part in plan.parts[:-1])
    assert all(facts_of_written(part.snapshot, part.path) for part in plan.parts)
    assert [write_part(part) for part in plan.parts[::-1]] == facts  # hashed, not written again
    snapshot = commit_snapshot(plan, facts, "v1")
    other = published(tmp_path / "other")
    assert bytes_of(snapshot) == bytes_of(other)


def test_nothing_chosen_and_a_broken_writer(tmp_path, monkeypatch):
    store, scored, _, about = prepared(tmp_path)
    strict = select(store, scored, LOWER_IS_BETTER, SelectConfig(limits={"niqe": -99.0}))
    with pytest.raises(ValueError, match="no crop was chosen"):
        plan_snapshot(store, "people", scored, strict, **about)
    monkeypatch.setattr(publishing, "_values", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        published(tmp_path)
    assert not list(tmp_path.glob("snapshots/**/*.p*"))
    with pytest.raises(ValueError, match="named like a column"):
        published_schema(["source"])
