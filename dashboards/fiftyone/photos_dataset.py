"""The photos in the App: every annotated box with its fate, and the squares that were cut out."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dashboards.fiftyone.app import FiftyOne
from dashboards.fiftyone.crop_records import Browsed
from dashboards.fiftyone.crops_dataset import COLOUR_OF_REASON, TECHNICAL, arrange
from dashboards.fiftyone.media_cache import OnProgress, write_preview
from dashboards.fiftyone.photo_records import NOT_CHOSEN
from dashboards.fiftyone.sample_documents import (
    Document,
    detection,
    detections,
    object_id,
    open_dataset,
    picture,
    remove_samples,
    write_samples,
)
from dashboards.fiftyone.saved_views import AMBER, BLUE, GREEN, GREY, RED, VIOLET, save_photo_views
from storage.reasons import Reason
from storage.shard import Row

LoadPhoto = Callable[[str, str], np.ndarray | None]
"""Source name and path of a photo → (H, W, 3) uint8 BGR, or None where it cannot be read."""

COLOUR_OF_FATE = {
    "kept": GREEN,
    NOT_CHOSEN: AMBER,
    **{str(reason): colour for reason, colour in COLOUR_OF_REASON.items()},
    Reason.TOO_SMALL: GREY,
    Reason.ENLARGED_TOO_MUCH: GREY,
    Reason.FLAG_NOT_ALLOWED: BLUE,
    Reason.CROWDED: "#0550ae",
    Reason.CUT_BY_SQUARE: "#bc4c00",
    Reason.OVERLAPS_CHOSEN: VIOLET,
    Reason.BLURRED_PHOTO: RED,
    Reason.NO_BOX_LEFT: "#953800",
}

_TEXTS = {
    "source": "Which dataset the photo comes from",
    "photo_id": "The photo, by its source; the same as in the crops",
    "fate": "kept where a crop of it is chosen, else why not",
    "detail": "What else the stage said",
    "path": "The photo's file below its source's folder",
    "licence": "As the source names it",
    "licence_url": "Of the licence",
    "author": "As the source names them",
    "page_url": "The page that shows the photo",
}
_NUMBERS = {"value": "What was measured of the photo", "limit": "What it was held against"}
_COUNTS = {"num_boxes": "Annotated boxes", "num_squares": "Crops cut out", "num_kept": "Crops chosen"}
_BOXES = {
    "boxes": "Every annotated box, labelled with its fate",
    "squares": "What was cut out, labelled with its fate",
}


def update_photos(
    fo: FiftyOne,
    browsed: Browsed,
    photos: Iterable[Row],
    load_photo: LoadPhoto,
    media: Path,
    on_progress: OnProgress,
) -> Any:  # noqa: ANN401 - a FiftyOne dataset
    """Build or update the dataset `NAME-photos`.

    Args:
        fo: the module.
        browsed: whose crops were cut out of them.
        photos: as `PhotoShard.photos` gives them.
        load_photo: gives a photo as the pipeline saw it; the browser would turn some of them round.
        media: where the previews lie.
        on_progress: told how many more photos were written.
    """
    dataset = open_dataset(fo, f"{browsed.name}-photos", browsed.root, _fields(fo))
    present = {d["_id"] for d in dataset._sample_collection.find({}, ["_id"])}
    written = set()

    def documents() -> Iterator[Document]:
        for photo in photos:
            document = _document(photo, load_photo, media)
            written.add(document["_id"])
            yield document

    write_samples(dataset, documents(), on_progress)
    remove_samples(dataset, present - written)
    _arrange(fo, dataset)
    save_photo_views(fo, dataset)
    return dataset


def _document(photo: Row, load_photo: LoadPhoto, media: Path) -> Document:
    name = f"{photo['source']}/{photo['photo_id']}"
    path = media / "photos" / f"{object_id(name)}.jpg"
    size = photo["size"]
    if not path.exists() or size is None:
        may_open = photo["path"] and photo["fate"] != Reason.PATH_OUTSIDE_ROOT
        pixels = load_photo(photo["source"], photo["path"]) if may_open else None
        size = size or (None if pixels is None else (pixels.shape[1], pixels.shape[0]))
        write_preview(path, _no_picture(size) if pixels is None else pixels)
    size = size or (640, 480)
    boxes = [
        detection(
            name,
            f"box {box['box_id']}",
            box["fate"],
            box["bbox_xyxy_px"],
            size,
            box_id=box["box_id"],
            **{key: box["why"].get(key) for key in ("metric", "value", "limit", "detail")},
        )
        for box in photo["boxes"]
        if np.isfinite(box["bbox_xyxy_px"]).all()
    ]
    squares = [
        detection(
            name,
            f"square {square['box_id']}",
            _of_square(square["fate"]),
            square["square_xyxy_px"],
            size,
            crop_id=square["crop_id"],
        )
        for square in photo["squares"]
    ]
    return {
        **picture(name, str(path), *size),
        **{key: photo.get(key) for key in [*_TEXTS, *_NUMBERS]},
        "num_boxes": len(photo["boxes"]),
        "num_squares": len(squares),
        "num_kept": sum(square["verdict"] == "kept" for square in photo["squares"]),
        "boxes": detections(boxes),
        "squares": detections(squares),
    }


def _of_square(fate: str) -> str:
    """Squares lie so close to their boxes that both must not be called the same."""
    return f"crop {fate}"


def _no_picture(size: tuple[int, int] | None) -> np.ndarray:
    """A grey picture of the photo's size that says what it is."""
    width, height = size or (640, 480)
    pixels = np.full((height, width, 3), 236, np.uint8)
    cv2.putText(
        pixels, "cannot be read", (width // 10, height // 2), cv2.FONT_HERSHEY_SIMPLEX, width / 400, (90, 90, 90), 2
    )
    return pixels


def _fields(fo: FiftyOne) -> dict[str, Document]:
    boxes = {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.Detections}
    return {
        **{name: {"ftype": fo.StringField, "description": text} for name, text in _TEXTS.items()},
        **{name: {"ftype": fo.FloatField, "description": text} for name, text in _NUMBERS.items()},
        **{name: {"ftype": fo.IntField, "description": text} for name, text in _COUNTS.items()},
        **{name: {**boxes, "description": text} for name, text in _BOXES.items()},
        "boxes.detections.box_id": {"ftype": fo.StringField},
        "boxes.detections.metric": {"ftype": fo.StringField},
        "boxes.detections.detail": {"ftype": fo.StringField},
        "boxes.detections.value": {"ftype": fo.FloatField},
        "boxes.detections.limit": {"ftype": fo.FloatField},
        "squares.detections.crop_id": {"ftype": fo.StringField},
    }


def _arrange(fo: FiftyOne, dataset: Any) -> None:  # noqa: ANN401
    groups = {
        "fate": ["fate", "value", "limit", "detail"],
        "boxes": ["boxes", "squares", *_COUNTS],
        "origin": ["source", "licence", "photo_id", "path"],
        "provenance": ["licence_url", "author", "page_url"],
        "technical": ["tags", *TECHNICAL],
    }
    colours = {str(fate): colour for fate, colour in COLOUR_OF_FATE.items()}
    arrange(
        fo,
        dataset,
        groups,
        closed={"provenance", "technical"},
        shown=["boxes", "squares", "fate"],
        colours={
            "fate": colours,
            "boxes": colours,
            "squares": {_of_square(fate): colour for fate, colour in (colours | {"kept": BLUE}).items()},
        },
    )
