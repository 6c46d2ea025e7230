"""A folder is recognised in the layouts that datasets and annotation tools have, and what is written for it runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.cli.__main__ import main
from flows.config import CurateConfig
from storage.config_file import load_config
from storage.store import Store
from tasks.ingest.ingest import ingest_source
from tasks.sources.discover import find_sources


@pytest.fixture(scope="module")
def cases(shared_cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases") / "made"
    subprocess.run([sys.executable, shared_cases / "make.py", folder], check=True, capture_output=True)
    return folder


def written(folder, tmp_path, *more):
    """The configuration that `persona init` writes for a folder."""
    path = tmp_path / "made.yaml"
    assert main(["init", str(folder), "-o", str(path), "--root", str(tmp_path / "root"), *more]) == 0
    return load_config(CurateConfig, path)


def num_ingested(config):
    """Photos and boxes that the sources of a configuration really give."""
    store, counts = Store(config.root), []
    for source in config.sources:
        shards = ingest_source(store, source, 512)
        counts.append(tuple(sum(shard.num_rows(table) for shard in shards) for table in ("photos", "boxes")))
    return counts


@pytest.mark.parametrize(
    ("case", "formats"),
    [
        ("archives", ["coco", "crowdhuman"]),
        ("open-images", ["open_images"] * 3),
        ("voc", ["voc"]),
        ("exif", ["coco", "coco"]),
    ],
)
def test_what_is_written_for_a_case_is_valid_and_finds_people(cases, case, formats, tmp_path):
    config = written(cases / case, tmp_path)
    assert [source.format for source in config.sources] == formats
    assert all(num_photos >= 5 and num_boxes >= 5 for num_photos, num_boxes in num_ingested(config))


def lay_out(shared_data, folder, annotations, photos, rename=lambda name: name):
    """COCO-mini's validation photos with people as another tool lays them out; returns the number of boxes."""
    coco = json.loads((shared_data / "coco_mini/annotations/instances_val2017.json").read_text())
    coco["images"] = coco["images"][:12]
    (folder / photos).mkdir(parents=True, exist_ok=True)
    for image in coco["images"]:
        shutil.copy(shared_data / "coco_mini/val2017" / image["file_name"], folder / photos / image["file_name"])
        image["file_name"] = rename(image["file_name"])
    ids = {image["id"] for image in coco["images"]}
    coco["annotations"] = [item for item in coco["annotations"] if item["image_id"] in ids]
    (folder / annotations).parent.mkdir(parents=True, exist_ok=True)
    (folder / annotations).write_text(json.dumps(coco))


@pytest.mark.parametrize(
    ("annotations", "photos", "rename", "name"),
    [
        ("annotations/instances_default.json", "images/default", str, "instances-default"),  # CVAT
        ("train/_annotations.coco.json", "train", str, "train"),  # Roboflow
        ("result.json", "images", lambda name: f"images/{name}", "mine"),  # Label Studio
        ("coco/annotations/instances_val2017.json", "coco/images/val2017", str, "instances-val2017"),
    ],
)
def test_coco_as_annotation_tools_export_it(shared_data, tmp_path, annotations, photos, rename, name):
    folder = tmp_path / "mine"
    lay_out(shared_data, folder, annotations, photos, rename)
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations/captions_val2017.json").write_text('{"images": [], "annotations": [{"caption": "x"}]}')
    config = written(folder, tmp_path)
    assert [(source.format, source.name) for source in config.sources] == [("coco", name)]
    ((num_photos, num_boxes),) = num_ingested(config)
    assert num_photos > 0 and num_boxes > 0


def test_photos_alone_are_the_detectors_and_unread_labels_are_told(shared_data, tmp_path, capsys):
    photo = next((shared_data / "coco_mini/val2017").iterdir())
    for split in ("train", "val"):
        (tmp_path / f"yolo/images/{split}").mkdir(parents=True)
        shutil.copy(photo, tmp_path / f"yolo/images/{split}/a-{split}.jpg")
    config = written(tmp_path / "yolo", tmp_path)
    assert [source.format for source in config.sources] == ["folder"] and num_ingested(config) == [(2, 0)]
    assert "detector finds the people" in capsys.readouterr().out
    (tmp_path / "yolo/labels/train").mkdir(parents=True)
    (tmp_path / "yolo/labels/train/a-train.txt").write_text("0 0.5 0.5 0.25 0.5\n0 0.1 0.2 3e-2 0.1\n")
    (found,) = find_sources(tmp_path / "yolo")
    assert "YOLO labels" in found.note
    (tmp_path / "yolo/data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: person, 1: dog}\n")
    (tmp_path / "made.yaml").unlink()
    shutil.copytree(tmp_path / "yolo", tmp_path / "whole")  # what was listed once is remembered
    config = written(tmp_path / "whole", tmp_path)
    assert [(source.format, source.name, source.split) for source in config.sources] == [
        ("yolo", "train", "train"),
        ("yolo", "val", "val"),
    ]
    assert num_ingested(config) == [(1, 2), (0, 0)]


def test_names_that_yaml_would_read_as_something_else_and_two_of_one_name(shared_data, tmp_path):
    folder = tmp_path / "Mine: 2017 #1"
    lay_out(shared_data, folder, "a/annotations.json", "a")
    lay_out(shared_data, folder, "b/a/annotations.json", "b/a")
    config = written(folder, tmp_path)
    assert [source.name for source in config.sources] == ["a", "a-2"] and config.name == "mine-2017-1"
    assert [Path(source.photos[0]).parent.name for source in config.sources] == [folder.name, "b"]


def test_nothing_is_overwritten_and_a_folder_without_photos_is_told(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["init", str(tmp_path / "empty")]) == 2
    assert "holds no photos" in capsys.readouterr().err
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    (tmp_path / "mine.yaml").write_text("mine: true")
    assert main(["init", str(tmp_path / "photos"), "-o", str(tmp_path / "mine.yaml")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text()) == {"mine": True}
