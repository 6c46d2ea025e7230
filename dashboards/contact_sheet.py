"""A contact sheet: what was chosen on top, what was not below, each with its reason and numbers."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from storage.reasons import Reason
from storage.shard import Row, Shard

COLUMNS = 6
TILE_PX, GAP_PX, TEXT_PX = 256, 12, 15
CAPTION_LINES = 3
INK, PAPER, KEPT, LOST = "#1b1f24", "#ffffff", "#116329", "#a40e26"
MAX_SHARDS_SEARCHED = 32
"""Examples of rejects come from no more shards than these, however large the dataset is."""

LoadPhoto = Callable[[str, str], np.ndarray | None]
"""Source name and path of a photo → (H, W, 3) uint8 BGR, or None where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture on the sheet, (H, W, 3) uint8 BGR or None, with the lines under it."""

    pixels: np.ndarray | None
    lines: tuple[str, ...]


def contact_sheet(
    title: str, selection: Sequence[Shard], crops: Sequence[Shard], rejects: Iterable[Shard], load_photo: LoadPhoto
) -> Image.Image:
    """The sheet of one run.

    Args:
        title: printed at the top.
        selection: shards with a table `selection`.
        crops: the crop shards that these speak of.
        rejects: shards with a table `rejects`, in the order of the stages.
        load_photo: gives the photo around a rejected box.
    """
    kept = _crop_tiles(selection, crops, "kept", 4 * COLUMNS)
    unselected = _crop_tiles(selection, crops, "rejected", 2 * COLUMNS)
    lost = _reject_tiles(rejects, load_photo, 6 * COLUMNS - len(unselected))
    not_chosen = unselected + lost
    return draw_sheet(
        title,
        [
            (f"Chosen ({len(kept)} shown)", KEPT, kept),
            (f"Not chosen, and why ({len(not_chosen)} shown)", LOST, not_chosen),
        ],
    )


def _crop_tiles(selection: Sequence[Shard], crops: Sequence[Shard], verdict: str, num: int) -> list[Tile]:
    """The best crops with that verdict; of the rejected ones, some for each reason."""
    rows = [row for shard in selection for row in shard.read("selection").to_pylist() if row["verdict"] == verdict]
    rows.sort(key=lambda row: (-(row["score"] or 0.0), row["crop_id"]))
    chosen = _some_of_each(rows, lambda row: f"{row['reason']} {row['metric']}", num)
    by_shard: dict[tuple[str, int], dict[str, Row]] = defaultdict(dict)
    for row in chosen:
        by_shard[row["source"], row["shard"]][row["crop_id"]] = row
    pictures = {}
    for shard in crops:
        wanted = by_shard.get((shard.source, shard.number), {})
        if wanted:
            ids = shard.read("crops", ["crop_id"]).column("crop_id").to_pylist()
            indices = [i for i, crop_id in enumerate(ids) if crop_id in wanted]
            for crop in shard.take("crops", indices, ["crop_id", "image", "source_side_px", "num_people"]):
                pictures[crop["crop_id"]] = crop
    return [_crop_tile(pictures[row["crop_id"]], row) for row in chosen]


def _crop_tile(crop: Row, row: Row) -> Tile:
    pixels = cv2.imdecode(np.frombuffer(crop["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR)
    people = f"{crop['num_people']} {'person' if crop['num_people'] == 1 else 'people'}"
    first = f"{row['source']}  {crop['source_side_px']} px  {people}"
    if row["verdict"] == "kept":
        return Tile(pixels, (first, f"score {row['score']:+.2f}  {row['split']}", row["crop_id"]))
    detail = row["metric"] or (f"of {row['better_crop_id'][:12]}" if row["better_crop_id"] else "score")
    return Tile(pixels, (first, row["reason"].replace("_", " "), f"{detail}  {_numbers(row)}"))


def _reject_tiles(shards: Iterable[Shard], load_photo: LoadPhoto, num: int) -> list[Tile]:
    """Some rejected boxes and photos of every reason."""
    rows: list[Row] = []
    for shard in list(shards)[:MAX_SHARDS_SEARCHED]:
        rows += shard.read("rejects").to_pylist()
    with_box = {(row["source"], row["photo_id"]) for row in rows if row["item"] == "box"}
    rows = [row for row in rows if row["item"] != "photo" or (row["source"], row["photo_id"]) not in with_box]
    return [_reject_tile(row, load_photo) for row in _some_of_each(rows, lambda row: row["reason"], num)]


def _reject_tile(row: Row, load_photo: LoadPhoto) -> Tile:
    may_open = row["path"] and row["reason"] != Reason.PATH_OUTSIDE_ROOT
    pixels = load_photo(row["source"], row["path"]) if may_open else None
    if pixels is not None and row["bbox_xyxy_px"] is not None:
        pixels = _around(pixels, row["bbox_xyxy_px"])
    numbers = _numbers(row)
    name = f"{row['item']} {row['box_id'] or row['photo_id'] or ''}"
    return Tile(pixels, (f"{row['source']}  {name}", row["reason"].replace("_", " "), numbers or row["detail"] or ""))


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


def _some_of_each(rows: list[Row], kind_of: Callable[[Row], str], num: int) -> list[Row]:
    """At most `num` rows, taken in turn from every kind, in the order of the rows."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[kind_of(row)].append(row)
    quota, taken = 0, 0
    while taken < min(num, len(rows)):
        quota += 1
        taken = sum(min(quota, len(kind)) for kind in kinds.values())
    return [row for kind in kinds.values() for row in kind[:quota]][:num]


def draw_sheet(title: str, sections: list[tuple[str, str, list[Tile]]]) -> Image.Image:
    """Tiles in rows of six, below a title; a section is a heading, the colour of what it says, and its tiles."""
    cell_height = TILE_PX + CAPTION_LINES * (TEXT_PX + 3) + GAP_PX
    heights = [2 * TEXT_PX + GAP_PX + -(-len(tiles) // COLUMNS) * cell_height for _, _, tiles in sections]
    width = COLUMNS * (TILE_PX + GAP_PX) + GAP_PX
    sheet = Image.new("RGB", (width, 3 * TEXT_PX + 2 * GAP_PX + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP_PX, GAP_PX), title, INK, ImageFont.load_default(2 * TEXT_PX))
    small, y = ImageFont.load_default(TEXT_PX), 3 * TEXT_PX + GAP_PX
    for (heading, colour, tiles), height in zip(sections, heights, strict=True):
        draw.text((GAP_PX, y), heading, colour, ImageFont.load_default(TEXT_PX * 1.4))
        for i, tile in enumerate(tiles):
            left = GAP_PX + i % COLUMNS * (TILE_PX + GAP_PX)
            top = y + 2 * TEXT_PX + i // COLUMNS * cell_height
            _draw_tile(sheet, draw, tile, (left, top), colour, small)
        y += height
    return sheet


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    tile: Tile,
    corner: tuple[int, int],
    colour: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    left, top = corner
    draw.rectangle((left, top, left + TILE_PX - 1, top + TILE_PX - 1), "#eceff2")
    if tile.pixels is None:
        draw.text((left + 8, top + 8), "no picture", "#57606a", font)
    else:
        picture = Image.fromarray(tile.pixels[..., ::-1])
        picture.thumbnail((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
        sheet.paste(picture, (left + (TILE_PX - picture.width) // 2, top + (TILE_PX - picture.height) // 2))
    for k, line in enumerate(tile.lines):
        while line and draw.textlength(line, font) > TILE_PX:
            line = line[:-2].rstrip("…") + "…"
        draw.text((left, top + TILE_PX + 2 + k * (TEXT_PX + 3)), line, colour if k == 1 else INK, font)
