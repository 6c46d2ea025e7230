"""What the App shows of a photo: every annotated box with its fate, and the squares that were cut out of it."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from storage.run_record import RunRecord
from storage.shard import Row, Shard
from storage.store import Store

NOT_CHOSEN = "not_chosen"
"""Fate of a photo that gave crops, none of which is in the dataset."""

_CROP_COLUMNS = ["crop_id", "photo_id", "box_id", "square_xyxy_px", "photo_width_px", "photo_height_px"]
_SELECTION_COLUMNS = ["crop_id", "verdict", "reason", "metric", "value", "limit"]


@dataclass(frozen=True)
class PhotoShard:
    """One shard of photos and what the stages made of them."""

    annotated: Shard  # tables photos, boxes, rejects
    cropped: Shard  # tables crops, rejects
    selection: Shard

    def photos(self, crops_shown: frozenset[str], num_more: int) -> Iterator[Row]:
        """The photos of the crops that are shown, and about `num_more` others, some of every fate.

        Each is a row of PHOTOS (no more than its id and path where it was no annotated photo) with `source`, `fate`,
        `value`, `limit`, `detail`, `size` (width and height of the photo, px; None where unknown), `boxes` and
        `squares`.
        """
        photos = self._assembled()
        chosen = [photo for photo in photos if crops_shown & {square["crop_id"] for square in photo["squares"]}]
        others: dict[str, list[Row]] = defaultdict(list)
        for photo in sorted(photos, key=_hashed):
            if not crops_shown & {square["crop_id"] for square in photo["squares"]}:
                others[photo["fate"]].append(photo)
        share = -(-num_more // max(1, len(others)))
        yield from chosen
        for found in others.values():
            yield from found[:share]

    def _assembled(self) -> list[Row]:
        verdicts = _by(self.selection.read("selection", _SELECTION_COLUMNS).to_pylist(), "crop_id")
        squares: dict[str, list[Row]] = defaultdict(list)
        for crop in self.cropped.read("crops", _CROP_COLUMNS).to_pylist():
            squares[crop["photo_id"]].append(crop | verdicts[crop["crop_id"]][0])
        rejects = [row for shard in (self.annotated, self.cropped) for row in shard.read("rejects").to_pylist()]
        lost_photos = _by([r for r in rejects if r["item"] == "photo"], "photo_id")
        lost_boxes = _by([r for r in rejects if r["item"] == "box"], "photo_id")
        boxes = _by(self.annotated.read("boxes").to_pylist(), "photo_id")
        photos = _by(self.annotated.read("photos").to_pylist(), "photo_id")
        return [
            _photo(
                photos[photo_id][0] if photo_id in photos else lost_photos[photo_id][0],
                boxes.get(photo_id, []),
                squares.get(photo_id, []),
                lost_photos.get(photo_id, [{}])[0],
                lost_boxes.get(photo_id, []),
            )
            | {"source": self.annotated.source}
            for photo_id in photos | lost_photos
            if photo_id is not None
        ]


def photo_shards(store: Store, record: RunRecord) -> list[PhotoShard]:
    """The shards of a run, put together: boxes come from the detector where it was asked."""
    shards = record.stages(store)
    boxed = {(s.source, s.number): s for stage in ("ingest", "detect") for s in shards.get(stage, [])}
    selection = {s.source: s for s in shards["select"]}
    return [PhotoShard(boxed[s.source, s.number], s, selection[s.source]) for s in shards["crop"]]


def _by(rows: Collection[Row], column: str) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return dict(found)


def _hashed(photo: Row) -> bytes:
    return hashlib.blake2b(photo["photo_id"].encode(), digest_size=8).digest()


def _photo(about: Row, boxes: list[Row], squares: list[Row], lost: Row, lost_boxes: list[Row]) -> Row:
    fate_of = {row["box_id"]: row for row in lost_boxes} | {row["box_id"]: row for row in squares}
    size = (about.get("width_px"), about.get("height_px"))
    if squares:
        size = squares[0]["photo_width_px"], squares[0]["photo_height_px"]
    # A box that ingest turned away is in no table of boxes, but its reject says where it was, if it was anywhere.
    known = {box["box_id"] for box in boxes}
    boxes = boxes + [row for row in lost_boxes if row["box_id"] not in known and row["bbox_xyxy_px"] is not None]
    return {
        **about,
        "fate": _photo_fate(squares, lost),
        **{name: lost.get(name) for name in ("value", "limit", "detail")},
        "size": size if all(size) else None,
        "boxes": [
            box | {"fate": _fate(fate_of.get(box["box_id"], {})), "why": fate_of.get(box["box_id"], {})}
            for box in boxes
        ],
        "squares": [square | {"fate": _fate(square)} for square in squares],
    }


def _photo_fate(squares: list[Row], lost: Row) -> str:
    if any(square["verdict"] == "kept" for square in squares):
        return "kept"
    return lost.get("reason") or NOT_CHOSEN


def _fate(row: Row) -> str:
    return row.get("reason") or "kept"
