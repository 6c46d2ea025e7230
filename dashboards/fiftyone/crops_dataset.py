"""The crops in the App: every crop with its scores, the verdict on it, the people in it, and what reviewers said."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dashboards.fiftyone.app import FiftyOne
from dashboards.fiftyone.crop_records import Browsed
from dashboards.fiftyone.media_cache import OnProgress, crop_preview
from dashboards.fiftyone.sample_documents import (
    Document,
    detection,
    detections,
    open_dataset,
    picture,
    remove_samples,
    write_samples,
)
from dashboards.fiftyone.saved_views import AMBER, BLUE, GREEN, GREY, RED, VIOLET, save_crop_views
from storage.reasons import Reason
from storage.reviews import Review, Verdict

COLOUR_OF_REASON = {
    Reason.METRIC_LIMIT: RED,
    Reason.BELOW_TOP_SHARE: AMBER,
    Reason.NEAR_DUPLICATE: VIOLET,
    Reason.DROPPED_BY_REVIEW: "#bf3989",
    Reason.LICENCE_NOT_ALLOWED: "#953800",
    Reason.NOT_SCORED: GREY,
}
VERDICT_COLOURS = {"kept": GREEN, "rejected": RED, "failed": GREY}

_TEXTS = {
    "crop_id": "Names the crop for ever, whatever the configuration",
    "verdict": "kept, rejected or failed",
    "reason": "Why it was not kept",
    "split": "train or val",
    "metric": "Which metric is beyond its limit",
    "own_verdict": "What the pipeline says without people",
    "nearest_limit": "Which limit decides, or is closest to deciding",
    "better_crop_id": "The near-duplicate that stays instead",
    "duplicate_group": "Smallest crop id of the near-duplicate crops",
    "photo_group": "The same for near-duplicate photos",
    "review": "What people said, as the last pull or browse knew it",
    "reviewed_by": "Who said so",
    "note": "Write here: select crops, press `, choose “Edit field values”",
    "review_note": "The note as the last pull or browse knew it",
    "source": "Which dataset the photo comes from",
    "photo_id": "The photo, by its source",
    "box_id": "The box, by its source",
    "photo_path": "The photo's file below its source's folder",
    "licence": "Of the photo, as the source names it",
    "licence_url": "Of the photo",
    "author": "Of the photo",
    "photo_url": "The photo itself",
    "page_url": "The page that shows the photo",
}
_NUMBERS = {
    "score": "Eq. 1 of the paper: the mean of the standardised metrics",
    "value": "What was measured",
    "limit": "What it was held against",
    "margin": "Distance to the limit that decides, in standard deviations; below 0 is beyond it",
    "laplacian_variance": "Of the whole photo in grey: how sharp it is",
}
_COUNTS = {
    "num_people": "People in the crop",
    "source_side_px": "Side of the square in the photo, before the resize",
    "duplicates": "Crops in the near-duplicate group",
}

FROM_RECORD = [
    *(name for name in _TEXTS if name not in ("review", "reviewed_by", "note", "review_note")),
    *_NUMBERS,
    *_COUNTS,
]


def update_crops(
    fo: FiftyOne,
    browsed: Browsed,
    shown: frozenset[str],
    reviews: Mapping[str, Review],
    media: Path,
    on_progress: OnProgress,
) -> Any:  # noqa: ANN401 - a FiftyOne dataset
    """Build or update the dataset `NAME-crops`; what people set in the App and did not pull yet stays.

    Args:
        fo: the module.
        browsed: all crops.
        shown: ids of those that the App shows.
        reviews: the last word on each crop.
        media: where the previews lie.
        on_progress: told how many more crops were written.
    """
    dataset = open_dataset(fo, f"{browsed.name}-crops", browsed.root, _fields(fo, browsed.metrics))
    present = {d["_id"]: d for d in dataset._sample_collection.find({}, ["crop_id", *REVIEW_FIELDS])}
    written = set()

    def documents() -> Iterator[Document]:
        for document in crop_documents(browsed, shown, media):
            written.add(document["_id"])
            yield document | review_fields(present.get(document["_id"]), reviews.get(document["crop_id"]))

    write_samples(dataset, documents(), on_progress)
    remove_samples(dataset, (i for i in present.keys() - written if not is_pending(present[i])))
    _arrange(fo, dataset, browsed.metrics)
    save_crop_views(fo, dataset, browsed.statistics)
    return dataset


def crop_documents(browsed: Browsed, shown: frozenset[str], media: Path) -> Iterator[Document]:
    """The samples of some crops, without what people said."""
    side = (browsed.side_px, browsed.side_px)
    for file in browsed.files:
        for record in file.records(shown):
            crop_id = record["crop_id"]
            people = (
                detection(crop_id, str(i), "subject" if box == record["person_bbox_xyxy_px"] else "person", box, side)
                for i, box in enumerate(record["people_bbox_xyxy_px"])
            )
            yield {
                **picture(crop_id, str(crop_preview(media, file, crop_id)), *side),
                **{name: record[name] for name in [*FROM_RECORD, *browsed.metrics]},
                "people": detections(people),
            }


REVIEW_FIELDS = ["tags", "review", "note", "review_note"]


def is_pending(sample: Mapping[str, Any]) -> bool:
    """Somebody tagged or noted something in the App that was not pulled yet."""
    return tagged(sample) != sample.get("review") or (sample.get("note") or None) != sample.get("review_note")


def tagged(sample: Mapping[str, Any]) -> Verdict | Literal["both"] | None:
    """What the sample's tags say."""
    keep, drop = (tag in sample.get("tags", []) for tag in ("keep", "drop"))
    return "both" if keep and drop else "keep" if keep else "drop" if drop else None


def review_fields(sample: Mapping[str, Any] | None, review: Review | None) -> Document:
    """What a sample says of its review: as the table does, unless somebody is about to say something else.

    Args:
        sample: as it is in the App; None where it is new.
        review: the last word on the crop.
    """
    if sample is not None and is_pending(sample):
        return {}
    verdict, note = (review.verdict, review.note) if review else (None, None)
    others = [tag for tag in (sample or {}).get("tags", []) if tag not in ("keep", "drop")]
    return {
        "tags": [*others, *([verdict] if verdict else [])],
        "review": verdict,
        "reviewed_by": review.user if review else None,
        "note": note,
        "review_note": note,
    }


def _fields(fo: FiftyOne, metrics: Sequence[str]) -> dict[str, Document]:
    def declared(kind: Any, texts: Mapping[str, str]) -> dict[str, Document]:  # noqa: ANN401
        return {name: {"ftype": kind, "description": text} for name, text in texts.items()}

    return {
        **declared(fo.StringField, _TEXTS),
        **declared(fo.FloatField, _NUMBERS),
        **declared(fo.FloatField, dict.fromkeys(metrics, "A quality metric")),
        **declared(fo.IntField, _COUNTS),
        "people": {
            "ftype": fo.EmbeddedDocumentField,
            "embedded_doc_type": fo.Detections,
            "description": "Everybody in the crop; the subject is whom it was cut out for",
        },
    }


TECHNICAL = [
    "id",
    "filepath",
    "created_at",
    "last_modified_at",
    "_label_tags",
    *(f"metadata.{name}" for name in ("size_bytes", "mime_type", "width", "height", "num_channels")),
]
"""Fields that every dataset of FiftyOne has."""


def _arrange(fo: FiftyOne, dataset: Any, metrics: Sequence[str]) -> None:  # noqa: ANN401
    """Sidebar, colours and what the grid shows, from what matters most to what matters least."""
    groups = {
        "verdict": ["verdict", "reason", "metric", "value", "limit", "split", "own_verdict"],
        "quality": ["score", *metrics, "margin", "nearest_limit", "laplacian_variance"],
        "review": ["tags", "review", "note", "reviewed_by", "review_note"],
        "people": ["people", "num_people"],
        "origin": ["source", "licence", "source_side_px", "photo_id", "box_id", "photo_path"],
        "provenance": ["licence_url", "author", "photo_url", "page_url"],
        "near-duplicates": ["duplicates", "duplicate_group", "better_crop_id", "photo_group"],
        "technical": ["crop_id", *TECHNICAL],
    }
    closed = {"provenance", "near-duplicates", "technical"}
    arrange(
        fo,
        dataset,
        groups,
        closed,
        shown=["verdict", "reason", "score"],
        colours={
            "verdict": VERDICT_COLOURS,
            "reason": {str(reason): colour for reason, colour in COLOUR_OF_REASON.items()},
            "review": {"keep": GREEN, "drop": RED},
            "split": {"train": BLUE, "val": AMBER},
            "people": {"subject": GREEN, "person": BLUE},
        },
    )


def arrange(
    fo: FiftyOne,
    dataset: Any,  # noqa: ANN401
    groups: Mapping[str, Iterable[str]],
    closed: Iterable[str],
    shown: Sequence[str],
    colours: Mapping[str, Mapping[str, str]],
) -> None:
    """Set what the App shows of a dataset when it is opened.

    Args:
        fo: the module.
        dataset: whose fields these are.
        groups: of the sidebar, name → fields.
        closed: groups that are folded at first.
        shown: fields on the tiles of the grid.
        colours: field → value → colour.
    """
    config = dataset.app_config
    config.sidebar_groups = [
        fo.SidebarGroupDocument(name=name, paths=list(paths), expanded=name not in closed)
        for name, paths in groups.items()
    ]
    config.active_fields = fo.core.odm.dataset.ActiveFields(paths=list(shown))
    config.color_scheme = fo.ColorScheme(
        color_by="value",
        color_pool=[GREY],  # what has no meaning of its own has no colour of its own
        fields=[
            {
                "path": path,
                "colorByAttribute": "label",
                "valueColors": [{"value": value, "color": colour} for value, colour in of_value.items()],
            }
            for path, of_value in colours.items()
        ],
    )
    dataset.save()
