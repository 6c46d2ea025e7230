"""Every crop is upright, its boxes turned with it; what nobody knows is refused."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from storage.reasons import Reason
from storage.shard import Shard
from storage.store import Store
from tasks.crop.crop import crop_key, crop_shard
from tasks.crop.filters import CropConfig
from tasks.images.photo import PhotoConfig
from tasks.images.photo_header import PhotoHeader
from tasks.images.upright import Turn, turn_of, turned_box
from tasks.ingest.ingest import ingest_source
from tasks.sources.open_images import OpenImagesSource

HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax"
UNCHANGED = CropConfig(side_px=48, min_side_px=48, min_laplacian_variance=0)


def crops_and_rejects(source, root, config=UNCHANGED):
    store, crops, rejects = Store(str(root)), [], []
    for shard in ingest_source(store, source, 512):
        out = Shard(store, "crop", source.name, shard.number, crop_key(shard, source, config, PhotoConfig()))
        crop_shard(shard, out, source, config, PhotoConfig())
        crops += out.read("crops").to_pylist()
        rejects += shard.read("rejects").to_pylist() + out.read("rejects").to_pylist()
    return crops, rejects


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_turned_like_pixels(orientation, tmp_path):
    mask = Image.new("L", (50, 30))
    mask.paste(255, (7, 3, 20, 9))
    exif = Image.Exif()
    exif[0x0112] = orientation
    mask.save(tmp_path / "mask.png", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "mask.png"))
    assert turned_box((7, 3, 20, 9), (50, 30), orientation) == upright.getbbox()
    assert Turn(orientation, with_boxes=True).size_px((50, 30)) == upright.size


@pytest.mark.parametrize(
    ("rotation", "quarters"), [("", 0), ("nan", 0), ("0.0", 0), ("90.0", 1), ("180", 2), ("270.0", 3)]
)
def test_open_images_rotation_is_counterclockwise_for_photo_and_boxes(tmp_path, rotation, quarters):
    rng = np.random.default_rng(0)
    photo = cv2.resize(rng.integers(0, 256, (10, 15, 3), np.uint8), (240, 160), interpolation=cv2.INTER_NEAREST)
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/a.jpg"), photo)
    (tmp_path / "boxes.csv").write_text(f"{HEADER}\na,x,/m/1,1,{24 / 240},{72 / 240},{16 / 160},{64 / 160}\n")
    (tmp_path / "classes.csv").write_text("/m/1,Person\n")
    (tmp_path / "images.csv").write_text(f"ImageID,Rotation\na,{rotation}\n")
    source = OpenImagesSource(
        name="oi",
        photos=tmp_path / "photos",
        boxes=tmp_path / "boxes.csv",
        classes=tmp_path / "classes.csv",
        image_ids=tmp_path / "images.csv",
    )
    (crop,), rejects = crops_and_rejects(source, tmp_path / "root")
    assert not rejects
    upright = np.rot90(cv2.imread(str(tmp_path / "photos/a.jpg")), quarters)  # numpy turns counterclockwise
    person = np.zeros((160, 240), bool)
    person[16:64, 24:72] = True
    rows, columns = np.nonzero(np.rot90(person, quarters))
    square = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert crop["square_xyxy_px"] == square
    assert crop["person_bbox_xyxy_px"] == [0, 0, 48, 48]
    assert (crop["photo_height_px"], crop["photo_width_px"]) == upright.shape[:2]
    pixels = cv2.imdecode(np.frombuffer(crop["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(pixels, upright[square[1] : square[3], square[0] : square[2]])
    assert crop["applied_orientation"] == {0: 1, 1: 8, 2: 3, 3: 6}[quarters]


def photo(width=None, height=None, **more):
    return {"width_px": width, "height_px": height, "orientation": None, "boxes_refer_to": None} | more


@pytest.mark.parametrize(
    ("row", "exif", "setting", "turn"),
    [
        (photo(60, 40), 1, "auto", Turn()),
        (photo(60, 40), 6, "auto", Turn(6, with_boxes=True)),  # as it is stored
        (photo(40, 60), 6, "auto", Turn(6)),  # as it is shown
        (photo(60, 40), 3, "auto", None),
        (photo(60, 40, boxes_refer_to="stored"), 3, "auto", Turn(3, with_boxes=True)),
        (photo(60, 40, boxes_refer_to="upright"), 2, "auto", Turn(2)),
        (photo(40, 60, boxes_refer_to="stored"), 6, "auto", Turn(6)),  # the photo's own size goes first
        (photo(), 6, "auto", None),
        (photo(60, 40), 6, "ignore", Turn()),
        (photo(60, 40), 6, "apply", Turn(6)),
        (photo(60, 40), 4, "apply_to_boxes", Turn(4, with_boxes=True)),
        (photo(60, 40, orientation=8), 1, "auto", Turn(8, with_boxes=True)),
        (photo(60, 40, orientation=8), 8, "auto", Turn(8, with_boxes=True)),  # once, not twice
        (photo(60, 40, orientation=8), 6, "auto", None),
        (photo(60, 40, orientation=8), 1, "ignore", Turn()),
    ],
)
def test_nobody_guesses_what_boxes_refer_to(row, exif, setting, turn):
    found = turn_of(row, PhotoHeader("jpeg", 60, 40, "rgb8", exif), setting)
    assert (found.reason if turn is None else found) == (turn or Reason.UNKNOWN_ORIENTATION)
