"""Planted duplicates are found, all of them; among real photos there is no false alarm."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from flows.cli.__main__ import main
from storage.snapshot import FOLDER, Snapshot, published_at
from storage.store import Store
from tasks.publish.audit import audit
from tasks.publish.publish import PublishConfig, plan_snapshot, publish
from tasks.select.select import select
from tasks.select.verdicts import SelectConfig
from tests.fake_benchmark import picture_row, square
from tests.fake_shards import write_shard


@pytest.fixture(scope="module")
def photos(shared_data):
    paths = [*(shared_data / "coco_mini").rglob("*.jpg"), *(shared_data / "unlabelled").rglob("*.jpg")]
    read = (cv2.imread(str(path)) for path in sorted(paths))
    return [photo for photo in read if photo is not None and min(photo.shape[:2]) >= 200]


def copied(photo, scale, quality):
    """The photo resized and compressed again, as another dataset would hold it."""
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def snapshot_of_train(root, pictures, source="coco"):
    """Every picture in train of a snapshot, as a whole photo and its own crop."""
    store = Store(str(root))
    rows = [picture_row(i, picture, source=source, crop_id=f"{source}{i}") for i, picture in enumerate(pictures)]
    scored = [write_shard(store, 0, rows, {"niqe": {row["crop_id"]: 1.0 for row in rows}})]
    config = SelectConfig(top_share=1.0, near_duplicate_crop_bits=0, near_duplicate_photo_bits=0)
    selection = select(store, scored, {"niqe": True}, config)
    about = {"config": PublishConfig(), "config_dump": {}, "weights": {}, "reports": []}
    return publish(plan_snapshot(store, source, scored, selection, **about), "v1")


def as_test(snapshot):
    """The same files published as a split of another name, by renaming the folder in the manifest."""
    folder = snapshot.store.local(snapshot.path)
    (folder / "train").rename(folder / "test")
    manifest = snapshot.manifest().model_dump(mode="json")
    files = [
        replace(file, split="test", path=file.path.replace("train/", "test/")) if file.split == "train" else file
        for file in snapshot.manifest().files
    ]
    other = Snapshot(snapshot.store, snapshot.id, FOLDER)
    other.commit({**manifest, "benchmark": "test", "files": files})
    return other


@pytest.mark.parametrize(("scale", "quality"), [(0.5, 40), (0.8, 75), (1.0, 30)])
def test_planted_duplicates_are_found_all_of_them_and_nothing_else(photos, tmp_path, scale, quality):
    # As data comes: no photo twice, as far as their hashes tell; one pair in the folder is the same file.
    train = snapshot_of_train(tmp_path / "a", [square(photo, 128) for photo in photos[:120]])
    planted = range(0, 120, 4)
    others = [square(photo, 128) for photo in photos[120:]]
    copies = [square(copied(photos[i], scale, quality), 128) for i in planted]
    test = as_test(snapshot_of_train(tmp_path / "b", [*copies, *others], source="voc"))
    leaks, contents = audit([train, test])
    found = {leak.a.crop_id if leak.a.split == "train" else leak.b.crop_id for leak in leaks}
    kept = {f"coco{i}" for i in planted} & set(ids_of(train))
    assert kept <= found
    alarms = [leak for leak in leaks if not is_planted(leak, list(planted))]
    print(f"{len(found & kept)} of {len(kept)} planted found; {len(alarms)} false alarms, {len(photos)} photos")
    assert alarms == []
    assert all(leak.photo_bits <= 6 for leak in leaks)
    assert contents[f"train of {train.id}"].sources == {"coco": len(ids_of(train))}


def ids_of(published):
    from storage.benchmark import batches_of, splits_of

    paths = [path for paths in splits_of(published).values() for path in paths]
    return [c for path in paths for batch in batches_of(published, path, ["crop_id"]) for c in batch[0].to_pylist()]


def is_planted(leak, planted):
    train, test = (leak.a, leak.b) if leak.a.split == "train" else (leak.b, leak.a)
    number = int(test.crop_id.removeprefix("voc"))
    return number < len(planted) and train.crop_id == f"coco{planted[number]}"


def test_a_flat_picture_is_like_no_other_that_is_not_equal(tmp_path):
    flat = [np.full((64, 64, 3), grey, np.uint8) for grey in (10, 200)]
    flat[1][:, 32:] = 210
    train = snapshot_of_train(tmp_path / "a", flat[:1])
    test = as_test(snapshot_of_train(tmp_path / "b", flat[1:], source="voc"))
    assert audit([train, test])[0] == []


def test_the_command_lists_both_distances_and_ends_with_1(photos, tmp_path, capsys):
    photo = square(photos[0], 128)
    train = snapshot_of_train(tmp_path / "a", [photo, square(photos[1], 128)])
    folder = str(train.store.local(train.path))
    assert main(["snapshot", "audit", folder]) == 0
    assert "0 pairs of crops" in capsys.readouterr().out
    test = as_test(snapshot_of_train(tmp_path / "b", [square(copied(photos[0], 0.6, 50), 128)], source="voc"))
    assert main(["snapshot", "audit", folder, "--against", str(test.store.local(test.path))]) == 1
    told = capsys.readouterr().out
    assert "near-duplicates: train crop coco0 (coco, photo p0," in told
    assert "of 64 bits between the photos" in told
    assert "between the crops" in told
    assert "PERSONA in the paper" in told  # niqe has a published mean


def test_shared_photos_are_found_by_their_ids(tmp_path):
    pictures = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8) for i in range(2)]
    train = snapshot_of_train(tmp_path / "a", pictures[:1])
    test = as_test(snapshot_of_train(tmp_path / "b", pictures[1:]))
    (leak,) = audit([train, published_at(str(test.store.local(test.path)))])[0]
    assert leak.same_photo  # photo p0 of coco in both, however unlike the pictures are
    assert "the same photo" in leak.sentence()
