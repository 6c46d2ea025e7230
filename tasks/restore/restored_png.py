"""A restored picture as a PNG that says what it was made of, so that nothing is restored twice."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

_HEADER_BYTES = 33
"""Signature and IHDR; our text is the first chunk behind them."""
_KEYWORD = b"persona-restore\0"


def png_bytes(bgr: np.ndarray, alpha: np.ndarray | None, made_of: str) -> bytes:
    """A PNG of the picture.

    Args:
        bgr: (H, W, 3) uint8.
        alpha: transparency of any size, which is resized to it.
        made_of: a digest of everything that decided the pixels.
    """
    if alpha is not None:
        height, width = bgr.shape[:2]
        shrinks = width < alpha.shape[1]
        alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        bgr = np.dstack([bgr, alpha])
    png = cv2.imencode(".png", bgr)[1].tobytes()
    chunk = b"tEXt" + _KEYWORD + made_of.encode()
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:_HEADER_BYTES] + text + png[_HEADER_BYTES:]


def is_made_of(path: Path, made_of: str) -> bool:
    """Whether a file that `png_bytes` made for the same digest lies at `path`."""
    wanted = b"tEXt" + _KEYWORD + made_of.encode()
    try:
        with path.open("rb") as file:
            return file.read(_HEADER_BYTES + 4 + len(wanted))[_HEADER_BYTES + 4 :] == wanted
    except OSError:
        return False
