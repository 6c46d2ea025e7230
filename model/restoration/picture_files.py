"""Read any picture file into eight-bit colours, the right way up, and write results as PNG."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from storage.reasons import Reason

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""Files of a folder that are pictures; a file that is named itself may be called anything."""


class Picture(NamedTuple):
    """A picture as it is looked at."""

    bgr: np.ndarray
    """(H, W, 3) uint8."""
    alpha: np.ndarray | None
    """(H, W) uint8, 255 where opaque; None where the file says nothing of transparency."""


class UnusablePictureError(ValueError):
    """A file is no picture that can be read; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.sentence)
        self.reason = reason


def read_picture(path: Path) -> Picture:
    """The first frame of a file, with EXIF's orientation applied; grey, palette, CMYK and 16-bit become 8-bit colours.

    Raises:
        UnusablePictureError: it is missing, empty, no picture, damaged or far too large.
    """
    try:
        if not path.stat().st_size:
            raise UnusablePictureError(Reason.EMPTY_FILE)
        with Image.open(path) as image:
            image.load()
            return _picture(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise UnusablePictureError(Reason.MISSING_FILE) from error
    except UnidentifiedImageError as error:
        raise UnusablePictureError(Reason.NOT_AN_IMAGE) from error
    except Image.DecompressionBombError as error:
        raise UnusablePictureError(Reason.TOO_MANY_PIXELS) from error
    except OSError as error:  # Pillow tells damaged data in this way too, but then without a number
        raise UnusablePictureError(Reason.UNREADABLE_FILE if error.errno else Reason.TRUNCATED_IMAGE) from error
    except (SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, UnusablePictureError):
            raise
        raise UnusablePictureError(Reason.TRUNCATED_IMAGE) from error


def _picture(image: Image.Image) -> Picture:
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey, which `convert` would cut off at 255
        grey = np.clip(np.rint(np.asarray(image, dtype=np.float64) / 257), 0, 255).astype(np.uint8)
        return Picture(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), None)
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return Picture(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR), np.ascontiguousarray(rgba[:, :, 3]))
    return Picture(cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR), None)


def png_bytes(bgr: np.ndarray, alpha: np.ndarray | None) -> bytes:
    """A PNG of the picture; `alpha`, of any size, is resized to it."""
    if alpha is not None:
        height, width = bgr.shape[:2]
        shrinks = width < alpha.shape[1]
        alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        bgr = np.dstack([bgr, alpha])
    return cv2.imencode(".png", bgr)[1].tobytes()
