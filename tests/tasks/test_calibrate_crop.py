"""What is told of other crop limits is what the crop stage then gives."""

import pytest

from storage.store import Store
from tasks.crop import calibrate
from tasks.crop.calibrate import blur_rows, calibrate_crop, size_rows
from tasks.crop.crop import crop_key, crop_shard
from tasks.crop.filters import CropConfig
from tasks.images.photo import PhotoConfig
from tasks.ingest.ingest import ingest_source
from tasks.sources.coco import CocoSource


@pytest.fixture(scope="module")
def world(shared_data, tmp_path_factory):
    coco = shared_data / "coco_mini"
    source = CocoSource(name="coco", photos=coco / "val2017", annotations=coco / "annotations/instances_val2017.json")
    store = Store(str(tmp_path_factory.mktemp("root")))
    return source, ingest_source(store, source, 16)


def cropped(world, config):
    """The shards of the real crop stage, and how many crops they hold."""
    source, boxed = world
    shards = []
    for boxes in boxed:
        key = crop_key(boxes, source, config, PhotoConfig())
        out = type(boxes)(boxes.store, "crop", source.name, boxes.number, key)
        crop_shard(boxes, out, source, config, PhotoConfig())
        shards.append(out)
    return shards, sum(shard.num_rows("crops") for shard in shards)


def test_every_number_is_what_the_crop_stage_gives(world):
    _, boxed = world
    loose = CropConfig(min_side_px=128, max_upscale=4.0, min_laplacian_variance=0)
    seen, num_loose = cropped(world, loose)
    found = calibrate_crop(boxed, seen, CropConfig())
    assert (found.num_photos, found.num_read, found.num_unopened) == (39, 39, 0)
    assert found.configured == cropped(world, CropConfig())[1] == found.by_size[256, 2.0] == found.by_blur[100]
    for size in ((192, 3.0), (320, 1.5), (512, 1.0)):
        config = CropConfig(min_side_px=size[0], max_upscale=size[1])
        assert found.by_size[size] == cropped(world, config)[1]
    assert found.by_blur[800] == cropped(world, CropConfig(min_laplacian_variance=800))[1] < found.by_blur[0]
    assert calibrate_crop(boxed, seen, loose).configured == num_loose > found.configured > 0


def test_what_nobody_opened_counts_as_sharp_and_is_told(world):
    _, boxed = world
    found = calibrate_crop(boxed, [], CropConfig(min_laplacian_variance=1e9))
    assert found.num_unopened > 0 and found.configured > 0
    papers = calibrate_crop(boxed, [], CropConfig(min_side_px=512, max_upscale=1.0))
    assert papers.configured == 0 < papers.by_size[256, 2.0]  # what the documents say of COCO's photos


def test_a_sample_is_scaled_to_all_photos(world, monkeypatch):
    _, boxed = world
    monkeypatch.setattr(calibrate, "MAX_PHOTOS", 1)
    found = calibrate_crop(boxed, [], CropConfig())
    assert found.num_read == boxed[0].num_rows("photos") < found.num_photos == 39
    one = calibrate_crop(boxed[:1], [], CropConfig()).configured
    assert found.configured == round(one * 39 / found.num_read)


def test_rows_for_tables(world):
    found = calibrate_crop(world[1], [], CropConfig())
    heading, *rows = size_rows(found)
    assert heading[0] == "min_side_px" and len(rows) == 7 and all(len(row) == len(heading) for row in rows)
    assert len(blur_rows(found)) == 8
