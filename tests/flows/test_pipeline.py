"""The stages together: bad input costs its own row, the books add up, and only what changed is done again."""

import contextlib
import json
import multiprocessing
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from flows.config import CurateConfig
from flows.execution.processes import Job, WorkerKilledError, run_jobs
from flows.execution.root_lock import RootInUseError, root_lock
from flows.execution.run_record import TooManyFailuresError
from flows.pipeline import already_curated, curate_with
from storage.config_file import validated
from storage.reasons import Reason
from storage.store import Store
from tests.counting_runner import CountingRunner


def curate_here(config):
    runner = CountingRunner(config)
    return curate_with(runner, config), runner.ran


def sharp_photo(seed, width=640, height=480):
    """Noise with blobs: sharp, and unlike the photo of any other seed."""
    dice = np.random.default_rng(seed)
    blobs = cv2.resize(
        dice.integers(0, 255, (12, 16, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return cv2.addWeighted(blobs, 0.8, dice.integers(0, 255, (height, width, 3), dtype=np.uint8), 0.2, 0)


@pytest.fixture
def messy(tmp_path):
    """A COCO source in which nearly everything is wrong that can be; returns its configuration."""
    photos = tmp_path / "photos"
    photos.mkdir()
    jpeg = cv2.imencode(".jpg", sharp_photo(0))[1].tobytes()
    for i, name in enumerate(("good.jpg", "mit Leerzeichen ü.jpg", "good2.jpg")):
        cv2.imwrite(str(photos / name), sharp_photo(i))
    cv2.imwrite(str(photos / "blurred.jpg"), cv2.GaussianBlur(sharp_photo(9), None, 9))
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.jpg").write_bytes(b"<html>404</html>")
    (photos / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    Image.open(photos / "good.jpg").convert("CMYK").save(photos / "cmyk.jpg")
    Image.open(photos / "good.jpg").convert("L").save(photos / "grey.jpg")
    (tmp_path / "outside.jpg").write_bytes(jpeg)
    (photos / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photos / "good.jpg").save(photos / "turned.jpg", exif=exif)
    names = [
        "good.jpg", "mit Leerzeichen ü.jpg", "good2.jpg", "blurred.jpg", "empty.jpg", "text.jpg", "cut.jpg", "cmyk.jpg",
        "grey.jpg", "link.jpg", "../outside.jpg", "/etc/passwd", "missing.jpg", "turned.jpg", "smaller.jpg",
    ]  # fmt: skip
    cv2.imwrite(str(photos / "smaller.jpg"), sharp_photo(20, 320, 240))
    images = [{"id": i, "file_name": name, "width": 640, "height": 480} for i, name in enumerate(names)]
    images += [
        {"id": i, "file_name": name, "width": 640, "height": 480}
        for i, name in ((0, "good.jpg"), (50, "one.jpg"), (50, "two.jpg"))
    ]
    whole = [100, 20, 300, 440]
    boxes = [{"image_id": i, "bbox": whole} for i in range(len(names))]
    boxes += [
        {"image_id": 1, "bbox": whole},
        {"image_id": 1, "bbox": [10, 10, -5, 20]},
        {"image_id": 1, "bbox": [10, 10, 0, 20]},
        {"image_id": 1, "bbox": [5000, 5000, 20, 20]},
        {"image_id": 1, "bbox": [10, 10, 50]},
        {"image_id": 999, "bbox": whole},
    ]
    annotations = [{"id": i, "category_id": 1, "iscrowd": 0, "area": 1.0, **box} for i, box in enumerate(boxes)]
    text = json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]})
    (tmp_path / "messy.json").write_text(text.replace("[10, 10, 0, 20]", "[NaN, 10, 30, 20]"))
    return {
        "name": "messy",
        "root": str(tmp_path / "root"),
        "run": {"workers": 2, "max_failed_share": 1.0, "max_faulty_share": 1.0},
        "sources": [
            {"format": "coco", "name": "messy", "photos": str(photos), "annotations": str(tmp_path / "messy.json")}
        ],
        "crop": {"min_side_px": 200, "max_upscale": 2, "min_laplacian_variance": 100},
        "score": {"metrics": ["piqe"]},
        "select": {"top_share": 1.0},
    }


def rejects_of(curated):
    shards = [shard for stage, shards in curated.stages.items() if stage != "select" for shard in shards]
    return [row for shard in shards for row in shard.read("rejects").to_pylist()]


def test_every_bad_thing_has_its_row_and_the_run_ends(messy):
    curated, _ = curate_here(validated(CurateConfig, messy, "test"))
    rejects = rejects_of(curated)
    photos = {row["path"]: row["reason"] for row in rejects if row["item"] == "photo"}
    assert photos["blurred.jpg"] == Reason.BLURRED_PHOTO
    assert photos["empty.jpg"] == Reason.EMPTY_FILE
    assert photos["text.jpg"] == Reason.NOT_AN_IMAGE
    assert photos["cut.jpg"] == Reason.TRUNCATED_IMAGE
    assert photos["cmyk.jpg"] == photos["grey.jpg"] == Reason.PIXEL_FORMAT
    assert photos["link.jpg"] == photos["../outside.jpg"] == Reason.PATH_OUTSIDE_ROOT
    assert photos["missing.jpg"] == photos["/etc/passwd"] == Reason.MISSING_FILE  # `passwd` in the photo folder
    assert photos["smaller.jpg"] == Reason.SIZE_MISMATCH
    assert photos["good.jpg"] == Reason.DUPLICATE_PHOTO_ID
    assert photos["one.jpg"] == photos["two.jpg"] == Reason.CONTESTED_PHOTO_ID
    boxes = [row["reason"] for row in rejects if row["item"] == "box" and row["photo_id"] in ("1", "999")]
    expected = {Reason.DUPLICATE_BOX, Reason.INVALID_BOX, Reason.OUTSIDE_PHOTO, Reason.UNKNOWN_PHOTO_ID}
    assert expected <= set(boxes) | {row["reason"] for row in rejects if row["item"] == "record"}
    (crops,) = (report.counts["crop"] for report in curated.reports if report.stage == "publish")
    kept = {
        row["photo_path"] for shard in curated.stages["crop"] for row in shard.read("crops", ["photo_path"]).to_pylist()
    }
    assert kept == {"good.jpg", "mit Leerzeichen ü.jpg", "good2.jpg", "turned.jpg"}
    assert crops.num_kept == 4  # the turned photo is the good one, lying on its side
    blurred = next(row for row in rejects if row["reason"] == Reason.BLURRED_PHOTO)
    assert blurred["value"] < blurred["limit"] == 100


def test_only_what_a_change_touches_is_done_again(messy):
    curate_here(validated(CurateConfig, messy, "test"))
    _, ran = curate_here(validated(CurateConfig, messy, "test"))
    assert sum(ran.values()) == 0
    other_share = {**messy, "select": {"top_share": 0.5}}
    _, ran = curate_here(validated(CurateConfig, other_share, "test"))
    assert {stage for stage, num in ran.items() if num} == {"select", "publish", "manifest"}
    other_metric = {**messy, "crop": {**messy["crop"], "max_upscale": 1.5}}
    assert already_curated(validated(CurateConfig, other_metric, "test")) is None
    _, ran = curate_here(validated(CurateConfig, other_metric, "test"))
    assert "ingest" not in ran and ran["crop"] > 0


def test_a_mended_photo_is_read_in_the_next_run(messy):
    config = validated(CurateConfig, messy, "test")
    curate_here(config)
    assert already_curated(config) is not None
    photos = Path(messy["sources"][0]["photos"])
    shutil.copyfile(photos / "good.jpg", photos / "missing.jpg")
    cv2.imwrite(str(photos / "empty.jpg"), sharp_photo(33))
    assert already_curated(config) is None
    curated, ran = curate_here(config)
    assert "ingest" not in ran and ran["crop"] > 0
    assert not {"missing.jpg", "empty.jpg"} & {row["path"] for row in rejects_of(curated) if row["outcome"] == "failed"}


def test_too_many_failures_end_the_run_with_one_sentence(messy):
    with pytest.raises(
        TooManyFailuresError, match=r"source messy: \d+ of \d+ photos failed, and max_failed_share is 0.05"
    ):
        curate_here(
            validated(CurateConfig, {**messy, "run": {"max_failed_share": 0.05, "max_faulty_share": 1.0}}, "test")
        )


def test_half_broken_annotations_end_the_run_with_the_most_frequent_reasons(messy):
    with pytest.raises(TooManyFailuresError) as told:
        curate_here(validated(CurateConfig, {**messy, "run": {"max_failed_share": 1.0}}, "test"))
    for part in (
        r"source messy: the annotations are at fault about 3 of 18 photos and \d+ of \d+ boxes, and "
        r"run.max_faulty_share is 0.05",
        r"several photos of the source have this id.* \(2, such as one.jpg\)",
        r"the file name leads out of the photo folder \(\d, such as ../outside.jpg\)",
    ):
        assert re.search(part, str(told.value)), str(told.value)


def test_choice_does_not_depend_on_workers_or_shard_size(messy, tmp_path):
    published = []
    for i, (workers, photos_per_shard) in enumerate([(1, 512), (2, 1), (2, 3)]):
        root = str(tmp_path / f"root{i}")
        run = {**messy["run"], "workers": workers, "photos_per_shard": photos_per_shard}
        config = {**messy, "root": root, "run": run}
        curated, _ = curate_here(validated(CurateConfig, config, "test"))
        files = curated.snapshot.store.local(curated.snapshot.path).glob("*/*.parquet")
        published.append((curated.snapshot.id, {file.name: file.read_bytes() for file in files}))
    assert published[0] == published[1] == published[2]


def _die():
    import os

    os.kill(os.getpid(), 9)


def test_a_killed_worker_is_told_in_one_sentence():
    with pytest.raises(WorkerKilledError, match="run the same command again"):
        run_jobs([Job(_die, ())], 1, lambda num: None)


def _wait(seconds):
    import time

    time.sleep(seconds)


@pytest.mark.parametrize("jobs", [[Job(_wait, (0,))] * 3, [Job(_die, ()), Job(_wait, (600,))]], ids=["done", "killed"])
def test_no_worker_outlives_the_stage_that_it_worked_for(jobs):
    with contextlib.suppress(WorkerKilledError):
        run_jobs(jobs, 2, lambda num: None)
    lines = (Path(f"/proc/{worker.pid}/cmdline") for worker in multiprocessing.active_children())
    assert not [
        line for line in lines if line.exists() and line.read_bytes()
    ]  # a dead one's is empty until it is reaped


def test_a_root_takes_one_run_at_a_time_and_forgets_what_a_killed_one_left(tmp_path):
    store = Store(str(tmp_path))
    half = tmp_path / "crop" / ".persona-77.part"
    half.parent.mkdir()
    half.touch()
    with root_lock(store):
        assert not half.exists()
        with pytest.raises(RootInUseError, match="another run"), root_lock(store):
            pass
    with root_lock(store):
        pass


def test_a_source_without_photos_is_an_error(messy, tmp_path):
    text = (tmp_path / "messy.json").read_text()
    (tmp_path / "messy.json").write_text(text[:12])
    with pytest.raises(ValueError, match="source messy lists no photo at all"):
        curate_here(validated(CurateConfig, messy, "test"))
