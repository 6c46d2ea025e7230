"""Cut the people of one shard of photos into squares: steps 2 to 4 of HQ-ACF.

What can be decided from the annotation alone is decided before the photo is opened; a photo is decoded once.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import fpng
import numpy as np

from storage.digest import RowsDigest, digest
from storage.reasons import Outcome, Reason
from storage.rejection import Rejection
from storage.report import StageReport, Tally
from storage.schema import CROPS, PHOTOS, REJECTS
from storage.shard import Row, Shard, ShardWriter
from tasks.crop.filters import Candidate, CropConfig, choose_squares, people_in
from tasks.crop.geometry import Box, share_inside
from tasks.images.perceptual_hash import perceptual_hash
from tasks.images.photo import OpenedPhoto, PhotoConfig, laplacian_variance, open_photo, upright
from tasks.images.upright import Turn, turn_of
from tasks.photos.photos import Signature
from tasks.photos.places import photos_of
from tasks.sources.base import Source

VERSION = 3
"""Part of every crop shard's key; raised whenever the same input would give another output."""

MIN_PERSON_INSIDE = 0.5
"""A person belongs to a crop if at least this share of the box lies in it."""


def crop_key(boxes: Shard, source: Source, config: CropConfig, photo_config: PhotoConfig) -> str:
    """Key of the crop shard that belongs to a shard of photos and boxes: everything that decides its content."""
    content = boxes.digest_of("photos"), boxes.digest_of("boxes")
    return digest("crop", VERSION, content, source.exif_orientation, config.content(), photo_config.content())


def crop_shard(boxes: Shard, out: Shard, source: Source, config: CropConfig, photo_config: PhotoConfig) -> StageReport:
    """Write the crops of one shard of photos, and a row in `rejects` for every photo and box that gives none.

    Args:
        boxes: a finished shard with tables `photos` and `boxes`, of ingest or detect.
        out: the crop shard, named by `crop_key`.
        source: where the photos lie.
        config: what is cut out.
        photo_config: which photos are read.
    """
    tally = Tally("crop", source.name, ("photo", "box"))
    unread_files: dict[str, Signature | None] = {}
    crops_digest = RowsDigest()
    photos = photos_of(source.photos, boxes.store)
    photos.taken()  # by an earlier shard that was given up
    boxes_of: dict[str, list[Row]] = defaultdict(list)
    for row in boxes.read("boxes").to_pylist():
        boxes_of[row["photo_id"]].append(row)
    rows_of_photos = boxes.read("photos").to_pylist()
    opened = [p["path"] for p in rows_of_photos if _is_opened(p, boxes_of[p["photo_id"]], config)]
    with photos.reading(opened) as read, ShardWriter(out, crops=CROPS, rejects=REJECTS) as writer:
        for photo in rows_of_photos:
            rows = boxes_of[photo["photo_id"]]
            tally.enter("photo")
            tally.enter("box", len(rows))
            why_none = Rejection(Reason.NO_BOX_LEFT)
            num_crops = 0
            for box, outcome in crop_photo(photo, rows, source, config, photo_config, read):
                if not isinstance(outcome, Rejection):
                    tally.keep("box")
                    num_crops += 1
                    writer["crops"].append(outcome)
                    crops_digest.add(outcome)
                elif box is None:
                    why_none = outcome
                else:
                    tally.lose("box", outcome.reason)
                    writer["rejects"].append(outcome.row("crop", source.name, "box", photo, box))
            if num_crops:
                tally.keep("photo")
                continue
            tally.lose("photo", why_none.reason)
            writer["rejects"].append(why_none.row("crop", source.name, "photo", photo))
            if why_none.reason.outcome is Outcome.FAILED:
                unread_files[photo["path"]] = photos.signature(photo["path"])
        return writer.commit(tally.report(), unread_files, crops_digest, photos.taken())


def _is_opened(photo: Row, rows: list[Row], config: CropConfig) -> bool:
    """Whether the photo itself is needed to tell what becomes of its boxes."""
    size = photo["width_px"], photo["height_px"]
    return not all(size) or any(not isinstance(outcome, Rejection) for _, outcome in choose_squares(rows, size, config))


def crop_photo(
    photo: Row,
    rows: list[Row],
    source: Source,
    config: CropConfig,
    photo_config: PhotoConfig,
    read: Callable[[str], bytes | Rejection],
) -> Iterator[tuple[Row | None, Row | Rejection]]:
    """What becomes of every box of one photo: its row with a row of CROPS, or with the reason why there is none.

    If the photo itself is the reason, a last pair (None, reason) says so.

    Args:
        photo: a row of the photos table.
        rows: its rows of the boxes table.
        source: whose photo it is.
        config: what is cut out.
        photo_config: which photos are read.
        read: gives the bytes of a photo by its path.
    """
    annotated = (photo["width_px"], photo["height_px"]) if photo["width_px"] and photo["height_px"] else None
    outcomes: list[tuple[Row, Candidate | Rejection | None]] = [(row, None) for row in rows]
    if annotated:
        outcomes = list(choose_squares(rows, annotated, config))
        if all(isinstance(outcome, Rejection) for _, outcome in outcomes):
            yield from _lost(outcomes)  # turned upright, the boxes would not fare better
            return
    seen = _see(photo, annotated, source, open_photo(read(photo["path"]), photo_config))
    if isinstance(seen, Rejection):
        yield from ((row, outcome if isinstance(outcome, Rejection) else seen) for row, outcome in outcomes)
        yield None, seen
        return
    if not annotated or seen.turn.with_boxes:
        outcomes = list(choose_squares(seen.turn.boxes(rows, seen.stored_px), seen.size_px, config))
    as_annotated = {row["box_id"]: row for row in rows}
    yield from ((as_annotated[row["box_id"]], lost) for row, lost in _lost(outcomes))
    candidates = [outcome for _, outcome in outcomes if isinstance(outcome, Candidate)]
    if not candidates:
        return
    found = _read(seen, config)
    if isinstance(found, Rejection):
        yield from ((as_annotated[candidate.row["box_id"]], found) for candidate in candidates)
        yield None, found
        return
    pixels, grey, about_photo = found
    about_photo |= {"source": source.name, "photo_path": photo["path"], **{name: photo[name] for name in _PROVENANCE}}
    people = people_in([row for row, _ in outcomes], seen.size_px)
    for candidate in candidates:
        box_id = candidate.row["box_id"]
        crop_id = crop_id_of(source.name, photo["photo_id"], box_id)
        crop = cut(pixels, grey, candidate, people, config)
        crop["image"]["path"] = f"{crop_id}.png"
        yield as_annotated[box_id], {**about_photo, **crop, "crop_id": crop_id, "box_id": box_id}


_PROVENANCE = [name for name in PHOTOS.names if name in CROPS.names]


def _lost(outcomes: list[tuple[Row, Candidate | Rejection | None]]) -> Iterator[tuple[Row, Rejection]]:
    return ((row, outcome) for row, outcome in outcomes if isinstance(outcome, Rejection))


@dataclass(frozen=True, slots=True)
class _Seen:
    """A photo whose header was read, and how it is turned upright; nothing is decoded yet."""

    opened: OpenedPhoto
    turn: Turn

    @property
    def stored_px(self) -> tuple[int, int]:
        return self.opened.header.width_px, self.opened.header.height_px

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the upright photo."""
        return self.turn.size_px(self.stored_px)


def _see(
    photo: Row, annotated: tuple[int, int] | None, source: Source, opened: OpenedPhoto | Rejection
) -> _Seen | Rejection:
    """The opened photo, if it has the annotated size and it is known how it is turned."""
    if isinstance(opened, Rejection):
        return opened
    turn = turn_of(photo, opened.header, source.exif_orientation)
    if isinstance(turn, Rejection):
        return turn
    seen = _Seen(opened, turn)
    width, height = turn.size_of_boxes_px(seen.stored_px)
    if annotated in (None, (width, height)):
        return seen
    orientation = opened.header.exif_orientation
    turned = f" with EXIF orientation {orientation}" if orientation > 1 else ""
    return Rejection(
        Reason.SIZE_MISMATCH, detail=f"{width}x{height}{turned}, annotated as {annotated[0]}x{annotated[1]}"
    )


def _read(seen: _Seen, config: CropConfig) -> tuple[np.ndarray, np.ndarray, Row] | Rejection:
    """Upright pixels of a photo, the same in grey, and what its crops say about it; if it is sharp."""
    pixels = seen.opened.pixels(apply_exif=False)
    if isinstance(pixels, Rejection):
        return pixels
    pixels = upright(pixels, seen.turn.orientation)
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    sharpness = laplacian_variance(grey)
    if sharpness < config.min_laplacian_variance:
        return Rejection(Reason.BLURRED_PHOTO, sharpness, config.min_laplacian_variance)
    about_photo = {
        "photo_width_px": pixels.shape[1],
        "photo_height_px": pixels.shape[0],
        "laplacian_variance": sharpness,
        "photo_phash": perceptual_hash(grey),
        "applied_orientation": seen.turn.orientation,
    }
    return pixels, grey, about_photo


def cut(pixels: np.ndarray, grey: np.ndarray, candidate: Candidate, people: dict[str, Box], config: CropConfig) -> Row:
    """The columns of CROPS that speak of the crop itself, its PNG included.

    Args:
        pixels: the photo, (H, W, 3) uint8 BGR.
        grey: the same, (H, W) uint8.
        candidate: the person.
        people: everybody in the photo, as `people_in` gives them.
        config: side and filters.
    """
    x_min, y_min, x_max, y_max = square = candidate.square
    crop = resized(pixels[y_min:y_max, x_min:x_max], config)
    scale = config.side_px / (x_max - x_min)

    def in_crop(box: Box) -> list[float]:
        inside = (max(box[0], x_min), max(box[1], y_min), min(box[2], x_max), min(box[3], y_max))
        return [(v - offset) * scale for v, offset in zip(inside, (x_min, y_min) * 2, strict=True)]

    inside = [in_crop(box) for box in people.values() if share_inside(box, square) >= MIN_PERSON_INSIDE]
    return {
        "image": {"bytes": encode_png(crop)},
        "square_xyxy_px": square,
        "source_side_px": x_max - x_min,
        "person_bbox_xyxy_px": in_crop(candidate.box),
        "people_bbox_xyxy_px": inside,
        "num_people": len(inside),
        "crop_phash": perceptual_hash(grey[y_min:y_max, x_min:x_max]),
    }


def crop_id_of(source_name: str, photo_id: str, box_id: str) -> str:
    """20 hexadecimal digits that name the crop of a box for ever, whatever the configuration."""
    return hashlib.blake2b("\0".join((source_name, photo_id, box_id)).encode(), digest_size=10).hexdigest()


def resized(square: np.ndarray, config: CropConfig) -> np.ndarray:
    """A square piece of a photo at `side_px`: averaged when it shrinks, Lanczos (8x8) or cubic when it grows."""
    side = square.shape[0]
    if side == config.side_px:
        return square
    enlarge = cv2.INTER_LANCZOS4 if config.enlarge_with == "lanczos" else cv2.INTER_CUBIC
    interpolation = cv2.INTER_AREA if side > config.side_px else enlarge
    return cv2.resize(square, (config.side_px, config.side_px), interpolation=interpolation)


def encode_png(pixels: np.ndarray) -> bytes:
    """Lossless PNG of (H, W, 3) uint8 BGR pixels; the same bytes for the same pixels."""
    return fpng.from_ndarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
