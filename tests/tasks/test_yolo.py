"""YOLO's text labels, as Ultralytics and Roboflow lay them out, give the boxes that they were made from."""

import json
import zipfile

import pyarrow as pa
import pytest

from storage.errors import InputError
from storage.reasons import Reason
from storage.store import Store
from tasks.photos.places import photos_of
from tasks.sources.records import PersonBox, Photo, Unread
from tasks.sources.yolo import YoloSource

LAYOUTS = {
    "ultralytics": ("images/train", "labels/train", "images/train"),
    "roboflow": ("train/images", "train/labels", "../train/images"),
}


def dataset(shared_data, folder, layout):
    """Ten real photos with their boxes as shares; returns the boxes by photo and line."""
    images, labels, entry = LAYOUTS[layout]
    (folder / images).mkdir(parents=True)
    (folder / labels).mkdir(parents=True)
    annotation = json.loads((shared_data / "coco_mini/annotations/instances_val2017.json").read_text())
    people = [a for a in annotation["annotations"] if a["category_id"] == 1]
    wanted = {}
    for image in [i for i in annotation["images"] if any(a["image_id"] == i["id"] for a in people)][:10]:
        photo = shared_data / "coco_mini/val2017" / image["file_name"]
        (folder / images / photo.name).write_bytes(photo.read_bytes())
        lines = ["1 0.5 0.5 0.1 0.1"]  # a bicycle
        for x, y, w, h in (a["bbox"] for a in people if a["image_id"] == image["id"]):
            left, top = x / image["width"], y / image["height"]
            right, bottom = (x + w) / image["width"], (y + h) / image["height"]
            centre = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            outline = [left, top, right, top, right, bottom, left, bottom]
            lines.append("0 " + " ".join(f"{v:.9f}" for v in (outline if len(lines) % 2 else centre)))
            wanted[f"{images}/{image['file_name']}", str(len(lines))] = (x, y, x + w, y + h)
        (folder / labels / image["file_name"].replace(".jpg", ".txt")).write_text("\n".join([*lines, "0 0.5 x"]))
    (folder / images / "nobody.jpg").write_bytes(b"never opened")
    described = ["path: /content/drive/x", f"train: {entry}", "names:", "  0: Pedestrian", "  1: bicycle"]
    (folder / "data.yaml").write_text("\n".join(described))
    return wanted


def read(source, tmp_path):
    records = list(source.read(tmp_path, photos_of(source.photos, Store(str(tmp_path / "root")))))
    assert not any(isinstance(record, pa.RecordBatch) for record in records)
    return records


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("packed", [False, True])
def test_boxes_are_those_that_the_shares_were_made_of(shared_data, tmp_path, layout, packed):
    wanted = dataset(shared_data, tmp_path / "set", layout)
    place = tmp_path / "set"
    if packed:
        place = tmp_path / "set.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for file in (tmp_path / "set").rglob("*.*"):
                archive.write(file, file.relative_to(tmp_path / "set"))
    records = read(YoloSource(name="y", photos=place, annotations=tmp_path / "set/data.yaml"), tmp_path)
    boxes = {(r.photo_id, r.box_id): r.bbox_xyxy_px for r in records if isinstance(r, PersonBox)}
    assert boxes.keys() == wanted.keys()
    assert all(box == pytest.approx(wanted[key], abs=1e-3) for key, box in boxes.items())
    photos = [r for r in records if isinstance(r, Photo)]
    assert len(photos) == 11
    assert [p.width_px for p in photos if p.path.endswith("nobody.jpg")] == [None]
    assert [r.reason for r in records if isinstance(r, Unread)] == [Reason.BROKEN_RECORD] * 10


def test_what_the_yaml_file_lacks_is_said(tmp_path):
    (tmp_path / "data.yaml").write_text("train: images\nnames: [car, bicycle]\n")
    with pytest.raises(InputError, match="car, bicycle"):
        read(YoloSource(name="y", photos=tmp_path, annotations=tmp_path / "data.yaml"), tmp_path)
    with pytest.raises(InputError, match="has no val"):
        read(YoloSource(name="y", photos=tmp_path, annotations=tmp_path / "data.yaml", split="val"), tmp_path)
