"""What people said in the App, as reviews: tags `keep` and `drop`, and notes, that the table does not know yet."""

from dataclasses import dataclass
from datetime import UTC
from typing import Any

from dashboards.fiftyone.app import FiftyOne
from dashboards.fiftyone.crops_dataset import REVIEW_FIELDS, is_pending, tagged
from storage.reviews import Review


@dataclass(frozen=True)
class Pulled:
    """What a look into the App found."""

    reviews: list[Review]
    contradictory: list[str]  # ids of crops that carry both tags


def datasets_of(fo: FiftyOne, root: str) -> list[Any]:
    """The datasets of crops that the App shows of a root, or of a snapshot below it."""
    named = (fo.load_dataset(name) for name in fo.list_datasets("*-crops"))
    return [d for d in named if d.info.get("root") == root or str(d.info.get("root")).startswith(f"{root}/")]


def pending_reviews(dataset: Any, user: str) -> Pulled:  # noqa: ANN401 - a FiftyOne dataset
    """What was said since the last pull, by `user`, each at the time when its sample was changed last."""
    reviews, contradictory = [], []
    for sample in dataset._sample_collection.find({}, ["crop_id", "last_modified_at", *REVIEW_FIELDS]):
        if not is_pending(sample):
            continue
        verdict = tagged(sample)
        if verdict == "both":
            contradictory.append(sample["crop_id"])
            continue
        time = sample["last_modified_at"].replace(tzinfo=UTC)
        note = sample.get("note") or None
        reviews.append(Review(crop_id=sample["crop_id"], verdict=verdict, note=note, user=user, time=time))
    return Pulled(reviews, contradictory)


def note_as_pulled(dataset: Any, reviews: list[Review]) -> None:  # noqa: ANN401
    """Remember in the App what the table knows now; called after the table was written."""
    from pymongo import UpdateOne

    updates = [
        UpdateOne(
            {"crop_id": review.crop_id},
            {"$set": {"review": review.verdict, "reviewed_by": review.user, "review_note": review.note}},
        )
        for review in reviews
    ]
    if updates:
        dataset._sample_collection.bulk_write(updates, ordered=False)
