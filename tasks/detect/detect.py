"""Give boxes to photos that come without: one shard of photos through the person detector."""

from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np

from model.network.weights import Compute
from storage.digest import digest
from storage.reasons import Outcome, Reason
from storage.rejection import Rejection
from storage.report import StageReport, Tally
from storage.schema import BOXES, PHOTOS, REJECTS
from storage.shard import Row, Shard, ShardWriter
from tasks.detect.person_detector import DetectConfig, Detection, Detector, find_people, open_detector
from tasks.images.photo import PhotoConfig, load_photo
from tasks.photos.photos import Signature
from tasks.photos.places import photos_of
from tasks.sources.base import Source

VERSION = 2
"""Part of every detect shard's key; raised whenever the same input would give another output."""


def detect_key(
    photos: Shard, source: Source, config: DetectConfig, photo_config: PhotoConfig, weights: dict[str, str]
) -> str:
    """Key of the detect shard that belongs to a shard of photos: everything that decides its content.

    Args:
        photos: a finished ingest shard.
        source: where the photos lie.
        config: how people are found.
        photo_config: which photos are read.
        weights: what `check_weights` returned.
    """
    by = sorted(weights.values()), version("ultralytics")
    content = config.content(), by, photo_config.content()
    return digest("detect", VERSION, photos.digest_of("photos"), source.exif_orientation, *content)


def detect_shard(
    photos: Shard,
    out: Shard,
    source: Source,
    config: DetectConfig,
    photo_config: PhotoConfig,
    compute: Compute = Compute(),
) -> StageReport:
    """Write the photos that show people with their boxes, and a row in `rejects` for every photo that gives none.

    Args:
        photos: a finished ingest shard.
        out: the detect shard, named by `detect_key`.
        source: where the photos lie.
        config: how people are found.
        photo_config: which photos are read.
        compute: how the network is run.

    Raises:
        WeightsUnavailableError: the weights cannot be opened; no photo was read.
    """
    detector = open_detector(config, compute)
    tally = Tally("detect", source.name, ("photo", "box"))
    unread_files: dict[str, Signature | None] = {}
    rows = photos.read("photos").to_pylist()
    files = photos_of(source.photos, photos.store)
    files.taken()  # by an earlier shard that was given up
    with (
        files.reading([row["path"] for row in rows]) as read,
        ShardWriter(out, photos=PHOTOS, boxes=BOXES, rejects=REJECTS) as writer,
    ):
        for photo, outcome in _people_in(rows, detector, source, config, photo_config, read):
            tally.enter("photo")
            if isinstance(outcome, Rejection):
                tally.lose("photo", outcome.reason)
                writer["rejects"].append(outcome.row("detect", source.name, "photo", photo))
                if outcome.reason.outcome is Outcome.FAILED:
                    unread_files[photo["path"]] = files.signature(photo["path"])
                continue
            tally.keep("photo")
            tally.enter("box", len(outcome))
            tally.keep("box", len(outcome))
            writer["photos"].append(photo)
            for number, detection in enumerate(outcome):
                writer["boxes"].append(_box_row(photo, number, detection))
        return writer.commit(tally.report(), unread_files, read_files=files.taken())


def _people_in(
    rows: list[Row],
    detector: Detector,
    source: Source,
    config: DetectConfig,
    photo_config: PhotoConfig,
    read: Callable[[str], bytes | Rejection],
) -> Iterator[tuple[Row, list[Detection] | Rejection]]:
    """Every photo with its people, or with the reason why there are none; the size of the read ones filled in."""
    for start in range(0, len(rows), detector.photos_per_pass):
        batch = rows[start : start + detector.photos_per_pass]
        loaded = [load_photo(read(row["path"]), photo_config, source.exif_orientation == "apply") for row in batch]
        people = iter(find_people(detector, [r for r in loaded if isinstance(r, np.ndarray)], config))
        for row, pixels in zip(batch, loaded, strict=True):
            if isinstance(pixels, Rejection):
                yield row, pixels
                continue
            height_px, width_px = pixels.shape[:2]
            found = next(people)
            sized = {**row, "width_px": width_px, "height_px": height_px}
            yield sized, found or Rejection(Reason.NO_PERSON_DETECTED, limit=config.confidence)


def _box_row(photo: Row, number: int, detection: Detection) -> Row:
    """A row of BOXES; `number` counts the photo's boxes from the most confident one."""
    return {
        "photo_id": photo["photo_id"],
        "box_id": str(number),
        "bbox_xyxy_px": detection.bbox_xyxy_px,
        "labels": [detection.label],
        "confidence": detection.confidence,
    }
