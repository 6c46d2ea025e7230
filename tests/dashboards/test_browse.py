"""What the App is given: every crop and box with its fate, once, and nothing that people said is lost."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pymongo
import pytest

from storage.reviews import Review, add_reviews, latest_reviews, review_history, standing_verdicts
from storage.run_record import read_run_record
from storage.shard import Shard
from storage.store import Store
from tests.dashboards.conftest import persona

PROJECT = Path(__file__).parent.parent.parent


def samples(environment, name):
    """The raw samples of a dataset by what they show, as MongoDB holds them."""
    with pymongo.MongoClient(environment["FIFTYONE_DATABASE_URI"]) as client:
        database = client[environment["FIFTYONE_DATABASE_NAME"]]
        about = database["datasets"].find_one({"name": name})
        collection = database[about["sample_collection_name"]]
        return collection, list(collection.find())


def table(root, stage, name):
    store = Store(str(root))
    shards = [Shard.named(store, shard) for shard in read_run_record(store, "mini").shards[stage]]
    return [row for shard in shards for row in shard.read(name).to_pylist()]


def test_every_crop_and_every_box_is_there_once_with_its_fate(browsed):
    root, environment = browsed
    selection = {row["crop_id"]: row for row in table(root, "select", "selection")}
    _, crops = samples(environment, "mini-crops")
    assert {c["crop_id"]: (c["verdict"], c["reason"], c["score"]) for c in crops} == {
        crop_id: (row["verdict"], row["reason"], row["score"]) for crop_id, row in selection.items()
    }
    assert len(crops) == len(selection) > 3
    _, photos = samples(environment, "mini-photos")
    rejected = [row for row in table(root, "crop", "rejects") if row["item"] == "box"]
    fates = [box["label"] for photo in photos for box in photo["boxes"]["detections"]]
    assert len(fates) == len(rejected) + len(selection)
    for reason in {row["reason"] for row in rejected}:
        assert fates.count(reason) == sum(row["reason"] == reason for row in rejected)
    assert {c["photo_id"] for c in crops} <= {p["photo_id"] for p in photos}
    _, val = samples(environment, "mini-val")
    assert sorted(sample["slice"] for sample in val) == ["HQ", "HQ", "LQ", "LQ"]


def test_building_again_changes_nothing_and_keeps_what_is_not_pulled(browsed):
    root, environment = browsed
    collection, before = samples(environment, "mini-crops")
    with pymongo.MongoClient(environment["FIFTYONE_DATABASE_URI"]) as client:
        place = client[environment["FIFTYONE_DATABASE_NAME"]][collection.name]
        place.update_one({"_id": before[0]["_id"]}, {"$set": {"tags": ["keep"], "note": "look again"}})
        again = persona(environment, "browse", root, "--no-app", "--limit", "3")
        assert again.returncode == 0, again.stderr
        _, after = samples(environment, "mini-crops")
        # The tagged one is not taken out, whether or not it is among the three.
        assert len(after) <= 4 and before[0] | {"tags": ["keep"], "note": "look again"} in after
        place.update_one({"_id": before[0]["_id"]}, {"$set": {"tags": [], "note": None}})
    assert persona(environment, "browse", root, "--no-app").returncode == 0
    keyed = [
        {sample["crop_id"]: sample for sample in found} for found in (before, samples(environment, "mini-crops")[1])
    ]
    times = ("created_at", "last_modified_at")
    assert [{k: {f: v for f, v in s.items() if f not in times} for k, s in found.items()} for found in keyed[:1]] == [
        {k: {f: v for f, v in s.items() if f not in times} for k, s in found.items()} for found in keyed[1:]
    ]


def test_samples_are_written_as_fiftyone_writes_them(browsed, tmp_path):
    _, environment = browsed
    script = (
        "import fiftyone as fo, json, sys\n"
        "d = fo.load_dataset('mini-crops')\n"
        "s = d.first(); t = fo.Dataset(); t.add_sample(s.copy())\n"
        "a, b = d._sample_collection.find_one({'_id': s._id}), t._sample_collection.find_one()\n"
        "shape = lambda v: {k: shape(x) for k, x in v.items()} if isinstance(v, dict) else"
        " [shape(x) for x in v] if isinstance(v, list) else type(v).__name__\n"
        "print(json.dumps([{k: shape(v) for k, v in x.items() if v is not None} for x in (a, b)]))\n"
        "print(len(d.load_saved_view('Kept')), len(d.match(fo.ViewField('verdict') == 'kept')))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "HOME": str(tmp_path), "FIFTYONE_DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shapes, counts = done.stdout.strip().splitlines()[-2:]
    ours, theirs = json.loads(shapes)
    assert ours == theirs
    assert len(set(counts.split())) == 1 and counts != "0 0"


def test_crops_are_laid_out_by_their_embeddings_and_a_second_build_replaces_the_first(browsed, tmp_path):
    _, environment = browsed
    script = (
        "import fiftyone as fo, numpy as np\n"
        "from dashboards.fiftyone.embeddings_view import BRAIN_KEY, show_embeddings\n"
        "d = fo.load_dataset('mini-crops')\n"
        "ids = d.values('crop_id')\n"
        "for scale in (1, 5):\n"
        "    show_embeddings(fo, 'mini-crops', {c: np.array([scale * i, 0, 3, i % 2]) for i, c in enumerate(ids)})\n"
        "d.reload()\n"
        "found = d.load_brain_results(BRAIN_KEY)\n"
        "at = dict(zip(found.sample_ids, found.points[:, 0]))\n"
        "steps = np.diff([at[i] for i in d.values('id')])\n"
        "assert d.list_brain_runs() == [BRAIN_KEY] and len(at) == len(ids)\n"
        "assert np.allclose(steps, 5, atol=0.5), steps\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env={**environment, "HOME": str(tmp_path), "FIFTYONE_DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_mongodb_that_is_away_is_one_sentence(browsed):
    root, environment = browsed
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    away = persona({**environment, "FIFTYONE_DATABASE_URI": "mongodb://me:secret@127.0.0.1:9"}, "browse", root)
    assert (away.returncode, away.stderr.count("\n")) == (7, 1)
    assert "MongoDB at 127.0.0.1:9 does not answer" in away.stderr and "secret" not in away.stderr
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_the_latest_word_wins_history_is_kept_and_repeating_adds_nothing(tmp_path):
    store = Store(str(tmp_path))

    def review(crop_id, verdict, day, **more):
        return Review(crop_id=crop_id, verdict=verdict, user="ada", time=datetime(2026, 1, day, tzinfo=UTC), **more)

    first = [review("a", "drop", 2), review("b", "keep", 1, note="sharp")]
    assert len(add_reviews(store, first)) == 2
    assert add_reviews(store, first) == add_reviews(store, [review("a", "drop", 9)]) == []
    assert len(add_reviews(store, [review("a", "keep", 3), review("b", None, 4)])) == 2
    assert standing_verdicts(store) == {"a": "keep"}
    # Somebody's older word that arrives late is kept, and changes nothing.
    assert len(add_reviews(store, [review("a", "drop", 1)])) == 1
    assert latest_reviews(store)["a"].verdict == "keep" and len(review_history(store)) == 5
    (tmp_path / "reviews" / "by-hand.jsonl").write_text('{"crop_id": "c", "verdict": "dorp"}\n')
    with pytest.raises(ValueError, match=r"by-hand.jsonl, line 1 is no review \(verdict"):
        review_history(store)
