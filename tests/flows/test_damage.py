"""What changed on the disk between two runs never flows into a snapshot: it is made again, with the same bytes."""

import json
import random

import pytest

from flows.config import CurateConfig
from flows.pipeline import already_curated, curate_with
from storage import parquet
from storage.config_file import validated
from storage.snapshot import verify_snapshot
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
