"""A contact sheet: what was chosen on top, what was not below, each with its reason and numbers."""

from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont

from dashboards.tiles import LoadPhoto, Tile, crop_tiles, reject_tiles
from storage.shard import Shard

COLUMNS = 6
TILE_PX, GAP_PX, TEXT_PX = 256, 12, 15
CAPTION_LINES = 3
INK, PAPER, KEPT, LOST = "#1b1f24", "#ffffff", "#116329", "#a40e26"


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
    kept = crop_tiles(selection, crops, "kept", 4 * COLUMNS)
    unselected = crop_tiles(selection, crops, "rejected", 2 * COLUMNS)
    lost = reject_tiles(rejects, load_photo, 6 * COLUMNS - len(unselected))
    not_chosen = unselected + lost
    return draw_sheet(
        title,
        [
            (f"Chosen ({len(kept)} shown)", KEPT, kept),
            (f"Not chosen, and why ({len(not_chosen)} shown)", LOST, not_chosen),
        ],
    )


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
