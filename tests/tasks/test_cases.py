"""Annotations as people have them: each of these files went wrong once, in a kind of its own."""

import json
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest

from storage.reasons import Reason
from storage.shard import Shard
from storage.store import Store
from tasks.crop.crop import crop_key, crop_shard
from tasks.crop.filters import CropConfig
from tasks.images.photo import PhotoConfig
from tasks.ingest.ingest import ingest_source
from tasks.sources.coco import CocoSource
from tasks.sources.crowdhuman import CrowdHumanSource
from tasks.sources.open_images import OpenImagesSource
from tasks.sources.voc import VocSource

CONFIG = CropConfig(min_side_px=60, max_upscale=6.0)


@pytest.fixture(scope="session")
def cases(shared_cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases") / "made"
    subprocess.run([sys.executable, shared_cases / "make.py", folder], check=True, capture_output=True)
    return folder


def crops_and_rejects(source, root):
    store, crops, rejects = Store(str(root)), [], []
    for shard in ingest_source(store, source, 512):
        out = Shard(store, "crop", source.name, shard.number, crop_key(shard, source, CONFIG, PhotoConfig()))
        crop_shard(shard, out, source, CONFIG, PhotoConfig())
        crops += out.read("crops").to_pylist()
        rejects += shard.read("rejects").to_pylist() + out.read("rejects").to_pylist()
    return crops, rejects


def pixels(crop):
    return cv2.imdecode(np.frombuffer(crop["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR).astype(int)


def coco(folder, name="annotations.json", **more):
    return CocoSource(name="case", photos=folder / "photos", annotations=folder / name, **more)


def open_images(folder, boxes, **more):
    classes = folder / "class-descriptions.csv"
    return OpenImagesSource(name="case", photos=folder / "photos", boxes=folder / boxes, classes=classes, **more)


def ingest_reasons(rejects):
    return Counter((row["item"], row["reason"]) for row in rejects if row["stage"] == "ingest")


@pytest.fixture(scope="session")
def plain(cases, tmp_path_factory):
    """The crops of the annotations as they ought to be: photo id → pixels."""
    folder = cases / "string-ids"
    written = json.loads((folder / "annotations.json").read_text())
    images = [{**image, "id": int(image["id"])} for image in written["images"]]
    (folder / "plain.json").write_text(json.dumps({**written, "images": images}))
    crops, rejects = crops_and_rejects(coco(folder, "plain.json"), tmp_path_factory.mktemp("plain"))
    assert len(crops) == 6
    assert not ingest_reasons(rejects)
    return sorted(crop["image"]["bytes"] for crop in crops)


@pytest.mark.parametrize("name", ["annotations.json", "string-in-boxes.json", "float.json", "labels.json"])
def test_ids_and_labels_of_other_types(cases, plain, tmp_path, name):
    crops, rejects = crops_and_rejects(coco(cases / "string-ids", name), tmp_path)
    assert sorted(crop["image"]["bytes"] for crop in crops) == plain
    assert not ingest_reasons(rejects)


def test_contested_ids_give_nothing(cases, tmp_path):
    crops, rejects = crops_and_rejects(coco(cases / "merged-ids"), tmp_path)
    assert not crops
    assert ingest_reasons(rejects) == {
        ("photo", Reason.CONTESTED_PHOTO_ID): 6,
        ("box", Reason.CONTESTED_PHOTO_ID): 9,
    }


def test_unlisted_categories_have_a_row_each(cases, tmp_path):
    crops, rejects = crops_and_rejects(coco(cases / "string-ids", "unlisted.json"), tmp_path)
    assert not crops
    assert ingest_reasons(rejects) == {("photo", Reason.NO_BOX_LEFT): 6, ("box", Reason.UNKNOWN_CATEGORY): 9}
    assert {row["detail"] for row in rejects if row["item"] == "box"} == {"category '7'"}


def test_what_stands_behind_the_end_is_told_with_its_place(cases, tmp_path):
    size = (cases / "string-ids/float.json").stat().st_size
    with pytest.raises(ValueError, match=rf"trailing.json goes on behind .* from byte {size + 1} on"):
        crops_and_rejects(coco(cases / "string-ids", "trailing.json"), tmp_path)


@pytest.mark.parametrize(
    ("boxes_in", "setting"),
    [("stored", "auto"), ("stored", "apply_to_boxes"), ("upright", "auto"), ("upright", "apply")],
)
def test_all_eight_orientations_give_the_same_upright_crop(cases, tmp_path, boxes_in, setting):
    source = coco(cases / "exif", f"boxes-in-{boxes_in}-pixels.json", exif_orientation=setting)
    crops, rejects = crops_and_rejects(source, tmp_path)
    assert not rejects
    assert {crop["photo_id"]: crop["applied_orientation"] for crop in crops} == {str(i): i for i in range(1, 9)}
    found = {crop["photo_id"]: pixels(crop) for crop in crops}
    for crop in found.values():
        assert np.abs(crop - found["1"]).mean() < 2  # eight times JPEG


@pytest.mark.parametrize("boxes", ["quoted.csv", "v2.csv", "not-utf8.csv"])
def test_open_images_as_table_programs_write_it(cases, plain, tmp_path, boxes):
    crops, rejects = crops_and_rejects(open_images(cases / "open-images", boxes), tmp_path)
    assert len(crops) == 6
    assert not ingest_reasons(rejects)


def test_open_images_turned(cases, tmp_path):
    image_ids = cases / "open-images/image-ids-with-rotation.csv"
    crops, _ = crops_and_rejects(open_images(cases / "open-images", "v2.csv", image_ids=image_ids), tmp_path / "turned")
    straight, _ = crops_and_rejects(open_images(cases / "open-images", "v2.csv"), tmp_path / "straight")
    rotation = dict(line.split(",")[::11] for line in image_ids.read_text().splitlines()[1:])
    quarters = {photo_id: int(float(degrees or 0) / 90) for photo_id, degrees in rotation.items()}
    lying = {crop["crop_id"]: crop for crop in straight}
    assert Counter(quarters[crop["photo_id"]] for crop in crops) == {0: 4, 1: 1, 3: 1}
    for crop in crops:
        turned = np.rot90(pixels(lying[crop["crop_id"]]), quarters[crop["photo_id"]])
        assert np.abs(pixels(crop) - turned).mean() < 3  # a pixel of rounding


def test_voc_in_other_encodings(cases, plain, tmp_path):
    folder = cases / "voc"
    source = VocSource(name="case", photos=folder / "JPEGImages", annotations=folder / "Annotations")
    crops, rejects = crops_and_rejects(source, tmp_path)
    assert len(crops) == 5
    assert {crop["image"]["bytes"] for crop in crops} < set(plain)
    reasons = ingest_reasons(rejects)
    assert reasons.pop(("field", Reason.UNREADABLE_FIELD)) == 7  # truncated is Unspecified
    assert reasons == {("photo", Reason.BROKEN_RECORD): 1}


@pytest.mark.parametrize("name", ["train", "person_train", "nested"])
def test_voc_image_sets(cases, tmp_path, name):
    folder = cases / "voc"
    source = VocSource(
        name="case",
        photos=folder / "JPEGImages",
        annotations=folder / "Annotations",
        image_set=folder / f"ImageSets/Main/{name}.txt",
    )
    crops, rejects = crops_and_rejects(source, tmp_path)
    assert {row["photo_id"] for row in crops + rejects} == {"000000030752", "000000084533", "000000165518"}
    assert not [row for row in rejects if row["reason"] == Reason.BROKEN_RECORD]


def test_a_file_of_another_format_is_recognised(cases, tmp_path):
    path = cases / "string-ids/float.json"
    with pytest.raises(ValueError, match=r"float.json is a COCO file; you wrote crowdhuman: write format: coco"):
        crops_and_rejects(CrowdHumanSource(name="case", photos=tmp_path, annotations=path), tmp_path)
