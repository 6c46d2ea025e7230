"""Pictures as they lie in tables: bytes of a PNG, decoded when they are looked at."""

from typing import Any

import cv2
import numpy as np

from storage.errors import InputError


def decoded(row: dict[str, Any], column: str) -> np.ndarray:
    """The picture in a column of type IMAGE as (H, W, 3) uint8 BGR.

    Args:
        row: with that column and `crop_id`.
        column: its name.

    Raises:
        ValueError: the bytes are no picture, so the file was damaged.
    """
    picture = cv2.imdecode(np.frombuffer(row[column]["bytes"], np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{column} of crop {row['crop_id']} is not a picture: the file is damaged, make it again")
    return picture
