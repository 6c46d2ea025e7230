"""From annotations to shards: what is refused and why, the same bytes every time, and nothing lost on the way."""

import json
import random
from pathlib import Path

import cv2
import numpy as np
import pytest

from storage.reasons import Outcome, Reason
from storage.schema import BOXES, PHOTOS, REJECTS
from storage.store import Store
from tasks.ingest.ingest import ingest_key, ingest_source, ingested_shards
from tasks.sources.coco import CocoSource
from tasks.sources.crowdhuman import CrowdHumanSource
from tasks.sources.folder import FolderSource
from tasks.sources.open_images import OpenImagesSource

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]


def image(number, name=None):
    return {"id": number, "file_name": name or f"{number}.jpg", "width": 100, "height": 80}


def box(number, photo, xywh=(1, 2, 30, 40), category=1):
    return {"id": number, "image_id": photo, "category_id": category, "bbox": list(xywh), "iscrowd": 0}


def coco(folder, images, annotations, cut=None):
    folder.mkdir(exist_ok=True)
    text = json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES})
    (folder / "a.json").write_text(text[:cut])
    return CocoSource(name="coco", photos=folder, annotations=folder / "a.json")


def ingest(source, root, photos_per_shard=1000):
    store = Store(str(root))
    shards = ingest_source(store, source, photos_per_shard)
    assert shards == ingested_shards(store, source, photos_per_shard)
    assert not (root / ".scratch").exists()
    return shards


def rows(shards, table):
    return [row for shard in shards for row in shard.read(table).to_pylist()]


def totals(shards):
    first, *rest = (shard.report() for shard in shards)
    return sum(rest, start=first).counts


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_fault_of_the_annotations_has_its_row(tmp_path):
    images = [
        image(1),
        image(2),
        image(1),
        image(3, "../../etc/passwd"),
        image(4, "../4.jpg"),
        image(5, "a\\..\\..\\5.jpg"),
        image(6),
        image(7),
        image(8, "ü ü.jpg"),
        image(9, "nul\0.jpg"),
        {"id": 10},
        image(11),
        image(11, "second.jpg"),
        image(12, "shared.jpg"),
        image(13, "shared.jpg"),
        image(14),
        {"id": 14, "file_name": None},
    ]
    nan, inf = float("nan"), float("inf")
    annotations = [
        box(10, 1),
        box(11, 1),
        box(12, 1, (nan, 2, 3, 4)),
        box(13, 1, (1, 2, inf, 4)),
        box(14, 1, (1, 2, -3, 4)),
        box(15, 1, (1, 2, 3, 0)),
        box(16, 1, (-5, -6, 300, 400)),
        box(16, 1, (-5, -6, 300, 500)),
        box(17, 1, category=2),
        box(18, 1, "xywh"),
        box(20, 2, (50, 2, 1e-12, 4)),
        box(30, 3),
        box(50, 5),
        box(60, 6, category=2),
        box(80, 8),
        box(99, 99),
        box(100, 10),
        box(110, 11),
        box(120, 12),
        box(130, 13),
        box(140, 14),
    ]
    shards = ingest(coco(tmp_path / "coco", images, annotations), tmp_path / "root")
    photos, boxes, rejects = (rows(shards, table) for table in ("photos", "boxes", "rejects"))
    assert shards[0].read("photos").schema == PHOTOS
    assert shards[0].read("boxes").schema == BOXES
    assert shards[0].read("rejects").schema == REJECTS
    assert {row["photo_id"]: row["path"] for row in photos} == {"1": "1.jpg", "8": "ü ü.jpg"}
    assert {(row["photo_id"], row["box_id"]): row["bbox_xyxy_px"] for row in boxes} == {
        ("1", "10"): [1, 2, 31, 42],
        ("8", "80"): [1, 2, 31, 42],
    }
    lost_photos = {row["photo_id"]: row["reason"] for row in rejects if row["item"] == "photo"}
    assert lost_photos.pop("14") in (Reason.CONTESTED_PHOTO_ID, Reason.BROKEN_RECORD)
    assert lost_photos == {
        "1": Reason.DUPLICATE_PHOTO_ID,
        "2": Reason.NO_BOX_LEFT,
        "3": Reason.PATH_OUTSIDE_ROOT,
        "4": Reason.PATH_OUTSIDE_ROOT,
        "5": Reason.PATH_OUTSIDE_ROOT,
        "6": Reason.NO_PERSON,
        "7": Reason.NO_PERSON,
        "9": Reason.PATH_OUTSIDE_ROOT,
        "10": Reason.BROKEN_RECORD,
        "11": Reason.CONTESTED_PHOTO_ID,
        "12": Reason.CONTESTED_PATH,
        "13": Reason.CONTESTED_PATH,
    }
    lost_boxes = {row["box_id"]: (row["reason"], row["detail"]) for row in rejects if row["item"] == "box"}
    assert lost_boxes.pop("18")[0] == Reason.BROKEN_RECORD
    assert lost_boxes == {
        "11": (Reason.DUPLICATE_BOX, None),
        "12": (Reason.INVALID_BOX, "not finite"),
        "13": (Reason.INVALID_BOX, "not finite"),
        "14": (Reason.INVALID_BOX, "no width"),
        "15": (Reason.INVALID_BOX, "no height"),
        "16": (Reason.CONTESTED_BOX_ID, None),
        "20": (Reason.INVALID_BOX, "no width"),
        "30": (Reason.PATH_OUTSIDE_ROOT, None),
        "50": (Reason.PATH_OUTSIDE_ROOT, None),
        "99": (Reason.UNKNOWN_PHOTO_ID, None),
        "100": (Reason.BROKEN_RECORD, None),
        "110": (Reason.CONTESTED_PHOTO_ID, None),
        "120": (Reason.CONTESTED_PATH, None),
        "130": (Reason.CONTESTED_PATH, None),
        "140": (Reason.CONTESTED_PHOTO_ID, None),
    }
    assert all(row["outcome"] == Outcome.REJECTED and row["source"] == "coco" for row in rejects)
    counts = totals(shards)
    assert (counts["photo"].num_in, counts["photo"].num_kept) == (17, 2)
    assert (counts["box"].num_in, counts["box"].num_kept) == (19, 2)
    assert len(rejects) == sum(c.num_rejected + c.num_failed for c in counts.values())


def test_two_photos_that_mean_one_file_are_both_refused(tmp_path):
    images = [image(1, "a.jpg"), image(2, "val/a.jpg"), image(3, "train/b.jpg"), image(4, "val/b.jpg")]
    source = coco(tmp_path / "coco", images, [box(i, i) for i in range(1, 5)])
    for name in ("a.jpg", "train/b.jpg", "val/b.jpg"):  # of a, one folder's was copied over the other's
        (tmp_path / "coco" / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "coco" / name), np.zeros((80, 100, 3), np.uint8))
    shards = ingest(source, tmp_path / "root")
    assert {row["photo_id"] for row in rows(shards, "photos")} == {"3", "4"}
    for item in ("photo", "box"):
        assert totals(shards)[item].rejected == {Reason.CONTESTED_PATH: 2}


@pytest.mark.parametrize("cut", [0, 20, 300, -260, -60, -1])
def test_json_cut_in_the_middle_gives_what_stands_before(tmp_path, cut):
    images = [image(i) for i in range(8)]
    annotations = [box(i, i) for i in range(4)]
    source = coco(tmp_path / "coco", images, annotations, cut)
    shards = ingest(source, tmp_path / "root")
    rejects = rows(shards, "rejects")
    assert [row["reason"] for row in rejects if row["item"] == "record"] == [Reason.ANNOTATIONS_CUT]
    photos = [row for row in rejects if row["item"] == "photo"]
    assert {row["reason"] for row in photos} <= {Reason.ANNOTATIONS_CUT}
    assert all(row["outcome"] == Outcome.FAILED for row in rejects)
    kept = {row["photo_id"] for row in rows(shards, "photos")}
    assert kept == ({"0", "1", "2", "3"} if cut == -1 else set())  # without the categories nobody is a person
    assert len(kept) + len(photos) == {0: 0, 20: 0, 300: 4}.get(cut, 8)


def test_cut_behind_the_categories_keeps_the_boxes_before_it(tmp_path):
    source = coco(tmp_path / "coco", [], [])
    images, annotations = [image(i) for i in range(4)], [box(i, i) for i in range(4)]
    text = json.dumps({"categories": CATEGORIES, "annotations": annotations, "images": images})
    (tmp_path / "coco/a.json").write_text(text[: text.index('{"id": 2, "file_name"') + 5])
    shards = ingest(source, tmp_path / "root")
    assert {row["photo_id"] for row in rows(shards, "photos")} == {"0", "1"}
    assert totals(shards)["box"].failed == {Reason.ANNOTATIONS_CUT: 2}


def dataset(num_photos, seed=0):
    rng = np.random.default_rng(seed)
    images = [image(i) for i in range(num_photos)]
    corners = rng.uniform(0, 50, (num_photos * 3, 4)).tolist()
    annotations = [box(i, i // 3, corners[i], 1 + i % 2) for i in range(num_photos * 3)]
    return images, annotations


def test_two_runs_and_any_order_give_the_same_bytes(tmp_path):
    images, annotations = dataset(300)
    source = coco(tmp_path / "coco", images, annotations)
    ingest(source, tmp_path / "one", 20)
    ingest(source, tmp_path / "two", 20)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    random.Random(1).shuffle(images)
    random.Random(2).shuffle(annotations)
    shuffled = ingest(coco(tmp_path / "other", images, annotations), tmp_path / "three", 20)
    straight = ingested_shards(Store(str(tmp_path / "one")), source, 20)
    assert len(shuffled) == len(straight) == 16
    for a, b in zip(shuffled, straight, strict=True):
        assert a.manifest() == b.manifest()


def test_more_photos_leave_most_shards_as_they_are(tmp_path):
    images, annotations = dataset(300)
    before = ingest(coco(tmp_path / "coco", images, annotations), tmp_path / "root", 20)
    more = [*images, image(1000), image(1001)], [*annotations, box(5000, 1000), box(5001, 1001)]
    after = ingest(coco(tmp_path / "coco", *more), tmp_path / "root", 20)
    changed = [
        a.number
        for a, b in zip(after, before, strict=True)
        if any(a.digest_of(table) != b.digest_of(table) for table in ("photos", "boxes"))
    ]
    assert 1 <= len(changed) <= 2
    assert max(shard.num_rows("photos") for shard in after) < 45


def test_key_follows_the_content_and_not_the_place(tmp_path):
    images, annotations = dataset(3)
    key = ingest_key(Store(str(tmp_path)), coco(tmp_path / "here", images, annotations))
    assert ingest_key(Store(str(tmp_path)), coco(tmp_path / "there", images, annotations)) == key
    assert ingest_key(Store(str(tmp_path)), coco(tmp_path / "here", images, annotations[1:])) != key


def test_photos_of_a_detector_source_are_all_kept(tmp_path):
    for name in ("a.jpg", "b/c.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    source = FolderSource(name="folder", photos=tmp_path / "photos")
    shards = ingest(source, tmp_path / "root")
    assert sorted(row["path"] for row in rows(shards, "photos")) == ["a.jpg", "b/c.png"]
    assert totals(shards)["photo"].num_kept == 2
    (tmp_path / "photos/d.webp").touch()
    assert ingested_shards(Store(str(tmp_path / "root")), source, 1000) is None


def open_images(folder, names, **more):
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,"
    lines = [f"{name},xclick,/m/1,1,0.1,0.6,0,1,0,0,0,0,0" for name in names]
    (folder / "photos").mkdir(parents=True)
    (folder / "boxes.csv").write_text("\n".join([header + "IsInside", *lines]))
    (folder / "classes.csv").write_text("/m/1,Person\n")
    return OpenImagesSource(
        name="oi", photos=folder / "photos", boxes=folder / "boxes.csv", classes=folder / "classes.csv", **more
    )


def test_a_missing_photo_fails_with_its_boxes_until_it_is_there(tmp_path):
    source = open_images(tmp_path, ["here", "gone", "text"])
    cv2.imwrite(str(Path(source.photos[0]) / "here.jpg"), np.zeros((40, 60, 3), np.uint8))
    (Path(source.photos[0]) / "text.jpg").write_text("a text that is no image")
    shards = ingest(source, tmp_path / "root")
    counts = totals(shards)
    for item in ("photo", "box"):
        assert counts[item].num_kept == 1
        assert counts[item].failed == {Reason.MISSING_FILE: 1, Reason.NOT_AN_IMAGE: 1}
    unread = shards[0].manifest().unread_files
    assert unread.keys() == {"gone.jpg", "text.jpg"}
    assert unread["gone.jpg"] is None
    assert unread["text.jpg"][0] == 23
    cv2.imwrite(str(Path(source.photos[0]) / "gone.jpg"), np.zeros((20, 20, 3), np.uint8))
    assert ingested_shards(Store(str(tmp_path / "root")), source, 1000) is None
    again = ingest(source, tmp_path / "root")
    assert {row["photo_id"]: row["width_px"] for row in rows(again, "photos")} == {"gone": 20, "here": 60}


def test_what_a_source_says_twice_and_differently_is_contested(tmp_path):
    (tmp_path / "images.csv").write_text("ImageID,Rotation\na,90.0\na,0.0\nb,180\nb,180\n")
    source = open_images(tmp_path / "oi", ["a", "b"], image_ids=tmp_path / "images.csv")
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"oi/photos/{name}.jpg"), np.zeros((40, 60, 3), np.uint8))
    shards = ingest(source, tmp_path / "root")
    assert [(row["photo_id"], row["orientation"]) for row in rows(shards, "photos")] == [("b", 3)]
    assert totals(shards)["photo"].rejected == {Reason.CONTESTED_PHOTO_ID: 2}
    # two lines of one photo: whose boxes?
    lines = [{"ID": name, "gtboxes": [{"tag": "person", "fbox": [i, 0, 9, 9]}]} for i, name in enumerate("aabcc")]
    lines[4] = lines[3]
    (tmp_path / "a.odgt").write_text("".join(json.dumps(line) + "\n" for line in lines))
    crowd = CrowdHumanSource(name="ch", photos=tmp_path, annotations=tmp_path / "a.odgt")
    counts = totals(ingest(crowd, tmp_path / "root"))
    assert counts["photo"].rejected == {Reason.CONTESTED_PHOTO_ID: 2, Reason.DUPLICATE_PHOTO_ID: 1}
    assert counts["box"].rejected == {Reason.CONTESTED_PHOTO_ID: 2, Reason.DUPLICATE_BOX: 1}


def test_a_run_that_was_killed_leaves_nothing_that_counts(tmp_path):
    source = coco(tmp_path / "coco", *dataset(50))
    store = Store(str(tmp_path / "root"))
    (tmp_path / "root/.persona-scratch/coco").mkdir(parents=True)
    (tmp_path / "root/.persona-scratch/coco/scratch.duckdb").write_text("half a database")
    progress = []

    def stop(num):
        progress.append(num)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_source(store, source, 20, stop)
    assert ingested_shards(store, source, 20) is None
    ingest_source(store, source, 20, progress.append)
    assert sum(progress[1:]) == 50 + 75
    shard = ingested_shards(store, source, 20)[1]
    store.local(shard.table("boxes")).unlink()
    assert ingested_shards(store, source, 20) is None
