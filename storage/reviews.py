"""What people said of single crops: a table that only grows, of which the latest word on each crop counts.

reviews/
    0123456789ab.jsonl      one pull: a line per review, named by its content

A line is `{"crop_id": …, "verdict": "keep" | "drop" | null, "note": …, "user": …, "time": …}`. The files are plain
enough to be written by hand, so that a crop can be taken out without any dashboard.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from storage.digest import canonical_json, digest
from storage.errors import InputError
from storage.frozen import Frozen
from storage.store import Store

FOLDER = "reviews"

Verdict = Literal["keep", "drop"]


class Review(Frozen):
    """What one person said of one crop at one time."""

    crop_id: str = Field(min_length=1)
    verdict: Verdict | None
    """None: an earlier verdict was taken back, or there is only a note."""
    note: str | None = None
    user: str = Field(min_length=1)
    time: AwareDatetime

    @property
    def order(self) -> tuple[AwareDatetime, str, str]:
        """Later is greater; two at the same time are told apart by what they say, never by their files."""
        return self.time, self.user, canonical_json(self)


def review_history(store: Store) -> list[Review]:
    """Every review ever made, the oldest first.

    Raises:
        ValueError: a line is no review. It is not passed over, for it may have told to drop a crop.
    """
    reviews = [review for path in store.files(FOLDER) if path.endswith(".jsonl") for review in _read(store, path)]
    return sorted(reviews, key=lambda review: review.order)


def _read(store: Store, path: str) -> Iterable[Review]:
    with store.filesystem.open_input_file(store.full(path)) as file:
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield Review.model_validate_json(line)
            except ValidationError as error:
                fault = error.errors()[0]
                key = ".".join(map(str, fault["loc"]))
                problem = f"{key}: {fault['msg']}" if key else fault["msg"]
                raise InputError(f"{path}, line {number} is no review ({problem}): mend or remove the line") from error


def latest_reviews(store: Store) -> dict[str, Review]:
    """The last word on every crop of which there is one, by crop id."""
    return {review.crop_id: review for review in review_history(store)}


def standing_verdicts(store: Store) -> dict[str, Verdict]:
    """What `select` obeys: crop id → keep or drop, in the order of crop ids."""
    latest = latest_reviews(store)
    return {crop_id: verdict for crop_id in sorted(latest) if (verdict := latest[crop_id].verdict)}


def add_reviews(store: Store, reviews: Iterable[Review]) -> list[Review]:
    """Append what is new to the table; returns it. What was said last already is not said again.

    The new file is named by its content and renamed into place, so a killed or repeated call leaves one file or none.
    """
    history = review_history(store)
    known, latest = set(history), {review.crop_id: review for review in history}
    new = [r for r in reviews if r not in known and not _repeats(r, latest.get(r.crop_id))]
    new.sort(key=lambda review: review.order)
    if new:
        lines = "".join(review.model_dump_json() + "\n" for review in new)
        store.write_text(f"{FOLDER}/{digest(lines)}.jsonl", lines)
    return new


def _repeats(review: Review, last: Review | None) -> bool:
    said = (last.verdict, last.note) if last else (None, None)
    return (review.verdict, review.note) == said
