"""How a photo is turned upright, and whether its boxes are turned with it.

Orientations are EXIF's (Exif 2.32, tag 0x0112): 1 = upright as stored, 2 to 8 = how the stored pixels have to be turned
or mirrored. A source's own word goes before the file's header; where neither says which pixels the boxes are counted
in, nothing is guessed.
"""

from dataclasses import dataclass
from typing import Literal

from storage.reasons import Reason
from storage.rejection import Rejection
from storage.shard import Row
from tasks.images.photo_header import PhotoHeader

Setting = Literal["auto", "ignore", "apply", "apply_to_boxes"]
Box = tuple[float, float, float, float]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Turn:
    """How the stored pixels become upright, and whether the boxes, counted in the stored pixels, go with them."""

    orientation: int = 1
    with_boxes: bool = False

    def size_px(self, stored: Size) -> Size:
        """Width and height of the upright photo."""
        return stored[::-1] if self.orientation >= 5 else stored

    def size_of_boxes_px(self, stored: Size) -> Size:
        """Width and height of the photo in which the boxes are counted."""
        return stored if self.with_boxes else self.size_px(stored)

    def boxes(self, rows: list[Row], stored: Size) -> list[Row]:
        """Rows of the boxes table with `bbox_xyxy_px` in the upright photo."""
        if not self.with_boxes or self.orientation == 1:
            return rows
        return [
            {**row, "bbox_xyxy_px": list(turned_box(tuple(row["bbox_xyxy_px"]), stored, self.orientation))}
            for row in rows
        ]


def turn_of(photo: Row, header: PhotoHeader, setting: Setting) -> Turn | Rejection:
    """How a photo is turned; refused where it is stored turned and nobody says what its boxes refer to.

    Args:
        photo: a row of the photos table.
        header: of its file.
        setting: the source's `exif_orientation`.
    """
    named, exif = photo.get("orientation"), header.exif_orientation
    if setting in ("ignore", "apply"):
        return Turn(exif if setting == "apply" else 1)
    if named is not None:
        if exif not in (1, named):
            return Rejection(Reason.UNKNOWN_ORIENTATION, detail=f"EXIF orientation {exif}, but the source says {named}")
        return Turn(named, with_boxes=True)
    if exif == 1:
        return Turn()
    refer_to = "stored" if setting == "apply_to_boxes" else _shown(photo, header)
    if refer_to is None:
        return Rejection(
            Reason.UNKNOWN_ORIENTATION,
            detail=f"EXIF orientation {exif}: exif_orientation of the source is to say what the boxes refer to",
        )
    return Turn(exif, with_boxes=refer_to == "stored")


def _shown(photo: Row, header: PhotoHeader) -> str | None:
    return shown_by_size((photo["width_px"], photo["height_px"]), header) or photo.get("boxes_refer_to")


def shown_by_size(annotated: tuple[int | None, int | None], header: PhotoHeader) -> Literal["stored", "upright"] | None:
    """What an annotated width and height say, since a quarter turn exchanges them; None where they cannot say it."""
    stored = header.width_px, header.height_px
    if not header.is_turned or stored[0] == stored[1]:
        return None
    return "stored" if annotated == stored else "upright" if annotated == stored[::-1] else None


def turned_box(box: Box, size: Size, orientation: int) -> Box:
    """A box of a photo whose stored pixels are `size` wide and high, in the photo turned by `orientation`."""
    x_min, y_min, x_max, y_max = box
    if orientation in (2, 3, 7, 8):
        x_min, x_max = size[0] - x_max, size[0] - x_min
    if orientation in (3, 4, 6, 7):
        y_min, y_max = size[1] - y_max, size[1] - y_min
    return (y_min, x_min, y_max, x_max) if orientation >= 5 else (x_min, y_min, x_max, y_max)
