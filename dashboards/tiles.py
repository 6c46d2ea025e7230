"""Example pictures with the words under them: crops that were chosen or not, and rejected boxes in their photos."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.reasons import Reason
from storage.shard import Row, Shard

MAX_SHARDS_SEARCHED = 32
"""Examples of rejects come from no more shards than these, however large the dataset is."""

LoadPhoto = Callable[[str, str], np.ndarray | None]
"""Source name and path of a photo → (H, W, 3) uint8 BGR, or None where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture, (H, W, 3) uint8 BGR or None, with the lines under it."""

    pixels: np.ndarray | None
    lines: tuple[str, ...]
    reason: Reason | None = None  # None where the crop was chosen


def crop_tiles(
    selection: Sequence[Shard], crops: Sequence[Shard], verdict: str, num: int, quota: int = 0
) -> list[Tile]:
    """The best crops with that verdict; of the rejected ones, some for each reason, and at most `quota` (0 = any)."""
    rows = _best_of_each(selection, verdict, quota or num)
    chosen = some_of_each(rows, lambda row: f"{row['reason']} {row['metric']}", num, quota)
    pictures = _pictures(chosen, crops)
    return [_crop_tile(pictures[row["crop_id"]], row) for row in chosen]


def duplicate_pairs(selection: Sequence[Shard], crops: Sequence[Shard], num: int) -> list[tuple[Tile, Tile]]:
    """Near-duplicates that were left out, closest first, each beside the better crop that stays."""
    worse = _rows(selection, pc.field("reason") == Reason.NEAR_DUPLICATE.value)
    worse = worse.sort_by([("value", "ascending"), ("crop_id", "ascending")]).slice(0, num)
    stays = _rows(selection, pc.field("crop_id").isin(worse["better_crop_id"].combine_chunks()))
    rows = {row["crop_id"]: row for row in [*worse.to_pylist(), *stays.to_pylist()]}
    pictures = _pictures(list(rows.values()), crops)
    tiles = {crop_id: _crop_tile(pictures[crop_id], row) for crop_id, row in rows.items()}
    return [(tiles[row["crop_id"]], tiles[row["better_crop_id"]]) for row in worse.to_pylist()]


def _rows(selection: Sequence[Shard], where: pc.Expression) -> pa.Table:
    return pa.concat_tables([shard.read("selection").filter(where) for shard in selection])


def _best_of_each(selection: Sequence[Shard], verdict: str, num: int) -> list[Row]:
    """The rows with that verdict, best first; of each reason and metric no more than `num`."""
    table = _rows(selection, pc.field("verdict") == verdict)
    table = table.sort_by([("score", "descending"), ("crop_id", "ascending")])
    rows: list[Row] = []
    for kind in table.group_by(["reason", "metric"]).aggregate([]).to_pylist():
        reason, metric = (
            pc.field(name).is_null() if value is None else pc.field(name) == value for name, value in kind.items()
        )
        rows += table.filter(reason & metric).slice(0, num).to_pylist()
    return sorted(rows, key=lambda row: (-(row["score"] or 0.0), row["crop_id"]))


def _pictures(rows: Sequence[Row], crops: Sequence[Shard]) -> dict[str, Row]:
    """Crop id → its row with the picture, for the crops that rows of `selection` speak of."""
    by_shard: dict[tuple[str, int], set[str]] = defaultdict(set)
    for row in rows:
        by_shard[row["source"], row["shard"]].add(row["crop_id"])
    pictures = {}
    for shard in crops:
        wanted = by_shard.get((shard.source, shard.number), set())
        if wanted:
            ids = shard.read("crops", ["crop_id"]).column("crop_id").to_pylist()
            indices = [i for i, crop_id in enumerate(ids) if crop_id in wanted]
            for crop in shard.take("crops", indices, ["crop_id", "image", "source_side_px", "num_people"]):
                pictures[crop["crop_id"]] = crop
    return pictures


def decoded(png: bytes) -> np.ndarray | None:
    """The picture as (H, W, 3) uint8 BGR, or None where the bytes are none."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def _crop_tile(crop: Row, row: Row) -> Tile:
    pixels = decoded(crop["image"]["bytes"])
    people = f"{crop['num_people']} {'person' if crop['num_people'] == 1 else 'people'}"
    first = f"{row['source']}  {crop['source_side_px']} px  {people}"
    if row["verdict"] == "kept":
        return Tile(pixels, (first, f"score {row['score']:+.2f}  {row['split']}", row["crop_id"]))
    detail = row["metric"] or (f"of {row['better_crop_id'][:12]}" if row["better_crop_id"] else "score")
    return Tile(pixels, (first, row["reason"].replace("_", " "), f"{detail}  {_numbers(row)}"), Reason(row["reason"]))


def reject_tiles(shards: Iterable[Shard], load_photo: LoadPhoto, num: int, quota: int = 0) -> list[Tile]:
    """Some rejected boxes and photos of every reason, at most `quota` of each (0 = any)."""
    shards = list(shards)
    rows: list[Row] = []
    for shard in shards[:: -(-len(shards) // MAX_SHARDS_SEARCHED) or 1]:
        rows += shard.read("rejects").to_pylist()
    with_box = {(row["source"], row["photo_id"]) for row in rows if row["item"] == "box"}
    rows = [row for row in rows if row["item"] != "photo" or (row["source"], row["photo_id"]) not in with_box]
    return [_reject_tile(row, load_photo) for row in some_of_each(rows, lambda row: row["reason"], num, quota)]


def _reject_tile(row: Row, load_photo: LoadPhoto) -> Tile:
    may_open = row["path"] and row["reason"] != Reason.PATH_OUTSIDE_ROOT
    pixels = load_photo(row["source"], row["path"]) if may_open else None
    if pixels is not None and row["bbox_xyxy_px"] is not None:
        pixels = _around(pixels, row["bbox_xyxy_px"])
    numbers = _numbers(row)
    name = f"{row['item']} {row['box_id'] or row['photo_id'] or ''}"
    lines = (f"{row['source']}  {name}", row["reason"].replace("_", " "), numbers or row["detail"] or "")
    return Tile(pixels, lines, Reason(row["reason"]))


def _numbers(row: Row) -> str:
    if row["value"] is None:
        return ""
    return f"{row['value']:.4g}, limit {row['limit']:.4g}" if row["limit"] is not None else f"{row['value']:.4g}"


def _around(pixels: np.ndarray, bbox_xyxy_px: Sequence[float]) -> np.ndarray:
    """The box, drawn into its surroundings; the whole photo if the coordinates make no sense."""
    height, width = pixels.shape[:2]
    if not np.isfinite(bbox_xyxy_px).all():
        return pixels
    x_min, y_min, x_max, y_max = (round(v) for v in np.clip(bbox_xyxy_px, 0, [width, height] * 2))
    if x_min >= x_max or y_min >= y_max:
        return pixels
    margin = max(x_max - x_min, y_max - y_min) // 4
    left, top = max(x_min - margin, 0), max(y_min - margin, 0)
    view = pixels[top : y_max + margin, left : x_max + margin].copy()
    thickness = max(2, max(view.shape) // 128)
    corners = (x_min - left, y_min - top), (x_max - left - 1, y_max - top - 1)
    return cv2.rectangle(view, *corners, (38, 14, 214), thickness)


def some_of_each(rows: list[Row], kind_of: Callable[[Row], str], num: int, quota: int = 0) -> list[Row]:
    """At most `num` rows, in turn from every kind, in the order of the rows; of each at most `quota` (0 = any)."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[kind_of(row)].append(row)
    each, taken = 0, 0
    while taken < min(num, len(rows)) and (not quota or each < quota):
        each += 1
        taken = sum(min(each, len(kind)) for kind in kinds.values())
    return [row for kind in kinds.values() for row in kind[:each]][:num]
