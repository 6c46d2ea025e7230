import io
import json
import shutil
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError

from model.network.weights import WeightsUnavailableError
from storage.report import Tally
from storage.schema import PHOTOS
from storage.shard import Shard, ShardWriter
from storage.store import Store
from tasks.crop.geometry import iou
from tasks.detect.detect import detect_key, detect_shard
from tasks.detect.person_detector import DetectConfig, check_weights, find_people, open_detector
from tasks.images.photo import PhotoConfig
from tasks.sources.folder import FolderSource

MIN_RECALL = 0.75
"""Of people of 200 px and more at IoU 0.5; 26 of 32 were found when this was written."""


@pytest.fixture
def config(detector_weights):
    return DetectConfig(weights=detector_weights, class_ids=(0, 1))


def ingested(folder, source, paths):
    shard = Shard(Store(str(folder)), "ingest", source.name, 0, "photos")
    tally = Tally("ingest", source.name, ("photo",))
    with ShardWriter(shard, photos=PHOTOS) as out:
        for path in paths:
            tally.enter("photo")
            tally.keep("photo")
            out["photos"].append({"photo_id": path, "path": path, "licence": "CC BY"})
        out.commit(tally.report())
    return shard


def detected(folder, source, paths, config):
    photos = ingested(folder, source, paths)
    key = detect_key(photos, source, config, PhotoConfig(), check_weights(config))
    out = Shard(photos.store, "detect", source.name, 0, key)
    report = detect_shard(photos, out, source, config, PhotoConfig())
    assert report == out.report()
    return out


def large_people(shared_data):
    """File name → boxes of at least 200 px of coco_mini's validation photos, crowds left out."""
    about = json.loads((shared_data / "coco_mini/annotations/instances_val2017.json").read_text())
    person = next(c["id"] for c in about["categories"] if c["name"] == "person")
    name_of = {image["id"]: image["file_name"] for image in about["images"]}
    people = defaultdict(list)
    for a in about["annotations"]:
        x, y, width, height = a["bbox"]
        if a["category_id"] == person and not a["iscrowd"] and max(width, height) >= 200:
            people[name_of[a["image_id"]]].append((x, y, x + width, y + height))
    return people


def test_pillow_stays_as_it_is(config):
    """ultralytics puts an `Image.open` of its own in place, which wants another package where a file is no picture."""
    open_detector(config)
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"no picture"))


def test_finds_the_large_people_of_real_photos(shared_data, tmp_path, config):
    people = large_people(shared_data)
    source = FolderSource(name="coco", photos=shared_data / "coco_mini/val2017")
    out = detected(tmp_path, source, sorted(people), config)

    found = defaultdict(list)
    for row in out.read("boxes").to_pylist():
        found[row["photo_id"]].append(row)
    hits = [
        any(iou(box, b["bbox_xyxy_px"]) >= 0.5 for b in found.get(name, ()))
        for name, boxes in people.items()
        for box in boxes
    ]
    assert len(hits) >= 30
    assert np.mean(hits) >= MIN_RECALL

    for photo in out.read("photos").to_pylist():
        boxes = found.pop(photo["photo_id"])
        height, width = cv2.imread(str(Path(source.photos[0]) / photo["path"])).shape[:2]
        assert (photo["width_px"], photo["height_px"], photo["licence"]) == (width, height, "CC BY")
        assert [b["box_id"] for b in boxes] == [str(i) for i in range(len(boxes))]
        assert all(a["confidence"] >= b["confidence"] for a, b in pairwise(boxes))
        for b in boxes:
            x_min, y_min, x_max, y_max = b["bbox_xyxy_px"]
            assert 0 <= x_min < x_max <= width and 0 <= y_min < y_max <= height
    assert not found
    counts = out.report().counts
    assert counts["box"].num_kept == out.read("boxes").num_rows
    assert counts["photo"].num_kept + counts["photo"].num_rejected == len(people)


def test_boxes_do_not_depend_on_the_neighbours(shared_data, config):
    names = sorted(large_people(shared_data))[:4]
    photos = [cv2.imread(str(shared_data / "coco_mini/val2017" / name)) for name in names]
    assert len({photo.shape for photo in photos}) > 1
    detector = open_detector(config)
    alone = [find_people(detector, [photo], config)[0] for photo in photos]
    assert sum(map(len, alone)) >= 4
    assert find_people(detector, photos, config) == alone
    assert find_people(detector, photos[::-1], config) == alone[::-1]


def test_a_flexible_network_sees_every_photo_in_the_same_square(detector_weights, tmp_path):
    open_detector(DetectConfig(weights=detector_weights, class_ids=(0, 1)))  # prepares ultralytics
    from ultralytics import YOLO

    YOLO("yolo11n.yaml").save(tmp_path / "untrained.pt")
    config = DetectConfig(weights=str(tmp_path / "untrained.pt"), image_size_px=320)
    detector = open_detector(config)
    seen = []
    backend = detector.network.predictor.model
    backend.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    wide, tall = np.zeros((100, 300, 3), np.uint8), np.zeros((300, 100, 3), np.uint8)
    for photos in ([wide], [tall], [wide, tall], [wide, wide]):
        find_people(detector, photos, config)
    assert seen == [(1, 3, 320, 320), (1, 3, 320, 320), (2, 3, 320, 320), (2, 3, 320, 320)]


def test_a_photo_that_cannot_be_read_costs_its_own_row(shared_data, tmp_path, config):
    good = shared_data / "coco_mini/val2017" / sorted(large_people(shared_data))[0]
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(good, folder / "good.jpg")
    (folder / "cut.jpg").write_bytes(good.read_bytes()[:20_000])
    (folder / "text.jpg").write_text("this is a text and no image")
    (folder / "empty.jpg").touch()
    cv2.imwrite(str(folder / "nobody.png"), np.full((300, 300, 3), 255, np.uint8))
    cv2.imwrite(str(folder / "bomb.png"), np.zeros((20, 20, 3), np.uint8))
    bomb = bytearray((folder / "bomb.png").read_bytes())
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    (folder / "bomb.png").write_bytes(bomb)
    names = ["cut.jpg", "good.jpg", "text.jpg", "nobody.png", "empty.jpg", "missing.jpg", "bomb.png"]
    out = detected(tmp_path, FolderSource(name="bad", photos=folder), names, config)

    assert out.read("photos")["photo_id"].to_pylist() == ["good.jpg"]
    assert {r["photo_id"]: r["reason"] for r in out.read("rejects").to_pylist()} == {
        "cut.jpg": "truncated_image",
        "text.jpg": "not_an_image",
        "nobody.png": "no_person_detected",
        "empty.jpg": "empty_file",
        "missing.jpg": "missing_file",
        "bomb.png": "too_many_pixels",
    }
    unread = out.manifest().unread_files
    assert sorted(unread) == ["cut.jpg", "empty.jpg", "missing.jpg", "text.jpg"]
    assert unread["missing.jpg"] is None


def test_exif_orientation_is_applied_where_the_source_says_so(shared_data, tmp_path, config):
    name = sorted(large_people(shared_data))[0]
    upright = cv2.imread(str(shared_data / "coco_mini/val2017" / name))
    jpeg = cv2.imencode(".jpg", cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # one entry: orientation 6
    exif = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "turned.jpg").write_bytes(jpeg[:2] + exif + jpeg[2:])
    out = detected(tmp_path, FolderSource(name="exif", photos=folder, exif_orientation="apply"), ["turned.jpg"], config)
    photo = out.read("photos").to_pylist()[0]
    assert (photo["height_px"], photo["width_px"]) == upright.shape[:2]
    expected = find_people(open_detector(config), [upright], config)[0][0]
    assert iou(out.read("boxes")["bbox_xyxy_px"][0].as_py(), expected.bbox_xyxy_px) > 0.9


def test_key_names_what_decides_the_boxes_and_nothing_else(shared_data, tmp_path):
    source = FolderSource(name="coco", photos=shared_data / "coco_mini/val2017")
    photos = ingested(tmp_path, source, ["a.jpg"])

    def key(weights="1", **changes):
        return detect_key(photos, source, DetectConfig(**changes), PhotoConfig(), {"w.pt": weights})

    assert key() == key(weights="1")
    assert len({key(), key(confidence=0.3), key(iou=0.5), key(class_ids=(0, 1)), key(weights="2")}) == 5


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("yolo11m.pt", ["yolo11m.pt", "could not be downloaded", "put the file at"]),
        ("people.onnx", ["people.onnx", "neither"]),
    ],
)
def test_missing_weights_are_told_in_one_quick_sentence(no_network, weights, words):
    with pytest.raises(WeightsUnavailableError) as error:
        check_weights(DetectConfig(weights=weights))
    assert sum(no_network) < 15
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_weights_that_hold_code_are_refused_and_the_code_does_not_run(tmp_path, runs_code):
    proof = tmp_path / "code ran"
    torch.save({"model": runs_code(proof)}, tmp_path / "evil.pt")
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    for name in ("evil.pt", "broken.onnx"):
        with pytest.raises(WeightsUnavailableError, match=name):
            check_weights(DetectConfig(weights=str(tmp_path / name)))
    assert not proof.exists()


def test_a_network_that_does_not_fit_the_configuration_is_refused(config):
    assert list(check_weights(config)) == ["yolov8s-person.onnx"]
    with pytest.raises(ValueError, match="class_ids \\[7\\]"):
        check_weights(config.model_copy(update={"class_ids": (7,)}))
    with pytest.raises(ValueError, match="image_size_px"):
        check_weights(config.model_copy(update={"image_size_px": 320}))
