"""What changed on the disk between two runs never flows into a snapshot: it is made again, with the same bytes."""

import json
import random

import pytest

import flows.curate
from flows.config import CurateConfig
from flows.curate import curate
from flows.pipeline import already_curated, curate_with
from flows.run_outputs import contact_sheet_path, is_complete, report_path
from storage import parquet
from storage.config_file import ConfigError, validated
from storage.errors import InputError
from storage.snapshot import verify_snapshot
from storage.store import Store
from tests.flows.test_pipeline import sharp_photo


class InThisProcess:
    """A runner without worker processes, which would take seconds each to start; counts the jobs of every stage."""

    def __init__(self):
        self.ran = {}

    def run(self, stage, jobs):
        self.ran[stage] = len(jobs)
        return [job.function(*job.arguments) for job in jobs]


def curate_here(config):
    runner = InThisProcess()
    return curate_with(runner, config), runner.ran


@pytest.fixture(scope="module")
def config_in(tmp_path_factory):
    """Six photos with one person each; gives the configuration for a root and a share."""
    import cv2

    folder = tmp_path_factory.mktemp("damage")
    for i in range(6):
        cv2.imwrite(str(folder / f"{i}.jpg"), sharp_photo(i))
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(6)]
    boxes = [{"id": i, "image_id": i, "bbox": [100, 20, 300, 440], "category_id": 1} for i in range(6)]
    boxes.append({"id": 6, "image_id": 0, "bbox": [0, 0, 5, 5], "category_id": 1})
    document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
    (folder / "people.json").write_text(json.dumps(document))
    source = {"format": "coco", "name": "six", "photos": str(folder), "annotations": str(folder / "people.json")}

    def config_in(root, top_share):
        content = {
            "name": "six",
            "root": str(root),
            "sources": [source],
            "crop": {"min_side_px": 200, "max_upscale": 2, "min_laplacian_variance": 100},
            "score": {"metrics": ["piqe"]},
            "select": {"top_share": top_share, "val_size": 1},
        }
        return validated(CurateConfig, content, "test")

    return config_in


def curated_clean(config_in, root):
    curate_here(config_in(root, 0.5))
    return curate_here(config_in(root, 1.0))[0].snapshot


def content_of(snapshot):
    folder = snapshot.store.local(snapshot.path)
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_flipped_byte_in_any_shard_never_flows_into_a_snapshot(config_in, tmp_path, monkeypatch):
    clean = curated_clean(config_in, tmp_path / "clean")
    chance = random.Random(5)
    curate_here(config_in(tmp_path / "root", 0.5))
    tables = [path for path in sorted((tmp_path / "root").rglob("*.parquet")) if "snapshots" not in path.parts]
    kinds = {path.name.split(".")[-2] for path in tables}
    assert kinds == {"photos", "boxes", "rejects", "crops", "scores", "selection", "statistics"}
    for path in tables:
        whole = bytearray(path.read_bytes())
        for at in chance.sample(range(len(whole) // 8, len(whole) - 8), 20 if "crops" in path.name else 1):
            whole[at] ^= 1 + chance.randrange(255)
        path.write_bytes(whole)
    monkeypatch.setattr(parquet, "_compared", set())

    curated, _ = curate_here(config_in(tmp_path / "root", 1.0))
    assert curated.snapshot.id == clean.id and content_of(curated.snapshot) == content_of(clean)
    assert verify_snapshot(curated.snapshot.store, curated.snapshot.path) == []
    for shards in curated.stages.values():
        for shard in shards:
            assert all(shard.read(table) is not None for table in shard.manifest().tables)


def small_files(root):
    return [p for p in sorted(root.rglob("*.json")) if "snapshots" not in p.parts]


@pytest.mark.parametrize("how", ["cut", "emptied", "flipped"])
def test_damaged_small_files_are_made_again(config_in, tmp_path, how):
    clean = curated_clean(config_in, tmp_path / "root")
    whole = {path: path.read_bytes() for path in small_files(tmp_path / "root")}
    assert {path.parts[len(tmp_path.parts) + 1] for path in whole} >= {"ingest", "crop", "score", "select", "books"}
    for path, content in whole.items():
        at = random.Random(path.name).randrange(len(content))
        flipped = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
        path.write_bytes({"cut": content[: len(content) // 2], "emptied": b"", "flipped": flipped}[how])
    config = config_in(tmp_path / "root", 1.0)
    assert already_curated(config) is None
    curated, ran = curate_here(config)
    assert curated.snapshot == clean and ran["ingest"] == ran["crop"] == 1
    assert verify_snapshot(clean.store, clean.path) == []
    used = {shard.store.local(shard.marker) for shards in curated.stages.values() for shard in shards}
    for path, content in whole.items():
        if path in used or path.parent.name in ("books", "root"):
            assert path.read_bytes() == content, path


def test_what_follows_a_snapshot_is_made_up_for(config_in, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(flows.curate, "emit_event", lambda name, resource, payload: told.append(payload["snapshot"]))
    monkeypatch.setattr(flows.curate, "runner_of", lambda config, progress: InThisProcess())
    config = config_in(tmp_path, 1.0)
    snapshot = curate_here(config)[0].snapshot  # and then it was killed
    outputs = [tmp_path / contact_sheet_path("six"), tmp_path / report_path("six")]
    assert already_curated(config) and not is_complete(snapshot.store, "six", snapshot)
    curate(config)
    assert told == [snapshot.id] and all(path.exists() for path in outputs)
    assert is_complete(snapshot.store, "six", snapshot)

    whole = outputs[1].read_bytes()
    outputs[1].unlink()
    assert not is_complete(snapshot.store, "six", snapshot)
    curate(config)
    assert told == [snapshot.id] and outputs[1].read_bytes() == whole

    other = curate(config_in(tmp_path, 0.5)).snapshot
    assert told == [snapshot.id, other.id]
    assert not is_complete(snapshot.store, "six", snapshot)  # the pictures speak of the other one
    curate(config)
    assert told == [snapshot.id, other.id] and is_complete(snapshot.store, "six", snapshot)


def test_a_finished_root_is_read_where_it_cannot_be_written(config_in, tmp_path, monkeypatch):
    config = config_in(tmp_path, 1.0)
    snapshot = curate_here(config)[0].snapshot
    monkeypatch.setattr(Store, "new_file", lambda *args, **kwargs: pytest.fail("written"))
    assert already_curated(config).snapshot == snapshot


def test_no_crop_chosen_says_what_took_the_most(config_in, tmp_path):
    def sentence(**content):
        config = config_in(tmp_path, 1.0)
        with pytest.raises(InputError) as error:
            curate_here(config.model_copy(update={k: v(getattr(config, k)) for k, v in content.items()}))
        return str(error.value)

    too_small = sentence(crop=lambda crop: crop.model_copy(update={"min_side_px": 500}))
    assert too_small == (
        "no crop was chosen: crop rejected 7 of 7 boxes since the longer side of the box is too short (too_small):"
        " lower crop.min_side_px"
    )
    limited = sentence(select=lambda select: select.model_copy(update={"limits": {"piqe": -1.0}}))
    assert limited == (
        "no crop was chosen: select rejected 6 of 6 crops since a quality metric is beyond its limit (metric_limit):"
        " relax select.limits"
    )


def test_row_groups_that_could_not_be_written_are_refused_before_anything_is_done(config_in, tmp_path):
    settings = config_in(tmp_path, 1.0).model_dump(mode="json", exclude_unset=True)
    with pytest.raises(ConfigError, match=r"row_group_rows is 10000: crops of 512x512 .* take 1,365 at most"):
        validated(CurateConfig, {**settings, "publish": {"row_group_rows": 10_000}}, "test")
