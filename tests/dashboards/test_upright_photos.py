"""What the App shows of a photo that is stored turned: upright, and its boxes where the people are."""

import pytest
from PIL import Image

from flows.dashboard_data.upright_photos import upright_photos
from storage.run_record import RunRecord
from storage.store import Store


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_stand_on_the_people_of_the_upright_photo(tmp_path, orientation):
    stored = Image.new("RGB", (160, 96))
    stored.paste((255, 255, 255), (16, 8, 48, 88))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", quality=100, exif=exif)
    (tmp_path / "a.json").write_text("{}")
    source = {"format": "coco", "name": "c", "photos": str(tmp_path), "annotations": str(tmp_path / "a.json")}
    record = RunRecord(name="r", snapshot=None, settings={"sources": [source]}, reports=())
    box = {"box_id": "1", "bbox_xyxy_px": [16, 8, 48, 88], "fate": "kept"}
    listed = {"source": "c", "path": "a.jpg", "width_px": 160, "height_px": 96, "boxes_refer_to": "stored"}
    rows, load = upright_photos(Store(str(tmp_path / "root")), record, [{**listed, "size": (160, 96), "boxes": [box]}])
    (row,) = rows
    pixels = load("c", "a.jpg")
    x_min, y_min, x_max, y_max = Image.fromarray(pixels).convert("L").point(lambda v: 255 * (v > 127)).getbbox()
    assert row["boxes"][0]["bbox_xyxy_px"] == [x_min, y_min, x_max, y_max]
    assert row["size"] == (pixels.shape[1], pixels.shape[0]) == ((160, 96) if orientation < 5 else (96, 160))
