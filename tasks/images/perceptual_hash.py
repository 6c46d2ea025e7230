"""A 64-bit fingerprint that survives resizing and recompression, for near-duplicates."""

import cv2
import numpy as np

_SIDE_PX = 32
_LOW = 8


def perceptual_hash(grey: np.ndarray) -> int:
    """The pHash of an (H, W) uint8 picture: signs of its 8x8 lowest DCT coefficients against their median.

    Bit 63 is the constant term, then row by row. The picture is averaged down to 32x32 first; the definition is that
    of pHash (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010) with the mean
    replaced by the median, as the `imagehash` package does.
    """
    low = cv2.dct(_shrunk(grey).astype(np.float32))[:_LOW, :_LOW]
    middle = np.partition(low, (31, 32), axis=None)[31:33].mean()  # the median; np.median takes three times as long
    return int.from_bytes(np.packbits(low > middle).tobytes(), "big")


def _shrunk(grey: np.ndarray) -> np.ndarray:
    """The picture at 32x32, averaged in two steps: by a whole number first, for which OpenCV is eight times faster.

    What does not fill the last block, less than a 64th of a side, is left out.
    """
    height, width = grey.shape
    step = min(height, width) // (2 * _SIDE_PX)
    if step > 1:
        columns, rows = width // step, height // step
        grey = cv2.resize(grey[: rows * step, : columns * step], (columns, rows), interpolation=cv2.INTER_AREA)
    return cv2.resize(grey, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
