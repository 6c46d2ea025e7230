"""Pictures of an evaluation side by side: LQ, restored and, where there is one, HQ."""

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from PIL import Image

from dashboards.contact_sheet import KEPT, LOST, Tile, draw_sheet
from storage.evaluation import Evaluation

_COLOURS = {"best": KEPT, "worst": LOST}


def comparison_grid(evaluation: Evaluation, side: str, examples: Iterable[dict[str, Any]]) -> Image.Image:
    """The best or the worst pictures of an evaluation, two (without HQ: three) to a row.

    Args:
        evaluation: what they belong to.
        side: best or worst.
        examples: rows of EXAMPLES, in the order of their ranks.
    """
    tiles = [tile for row in examples for tile in _tiles(row, str(evaluation.primary))]
    direction = "by" if evaluation.primary is None else f"by {evaluation.primary}"
    heading = f"The {side} {direction}, from the {side} on"
    return draw_sheet(
        f"{evaluation.label} on {evaluation.benchmark.id}, {evaluation.headline}", [(heading, _COLOURS[side], tiles)]
    )


def _tiles(row: dict[str, Any], primary: str) -> list[Tile]:
    captions = {
        "lq": ("LQ", "", row["crop_id"]),
        "restored": ("restored", f"{primary} {row['value']:.4f}", f"rank {row['rank']}"),
        "hq": ("HQ", "", ""),
    }
    return [Tile(_pixels(row[name]["bytes"]), lines) for name, lines in captions.items() if row[name] is not None]


def _pixels(png: bytes) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
