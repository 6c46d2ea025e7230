"""Does a restored picture invent? Degraded again by the crop's own recipe, it should be the LQ picture once more.

A recipe fixes every kernel, size, noise pixel and JPEG quality, so the HQ picture degraded again is LQ to the bit, and
what a restored picture adds that LQ cannot confirm lowers the value.
"""

import numpy as np

from model.data.degradation import Recipe, degrade

SAME_DB = 80.0
"""The value of equal pictures, as with pyiqa's PSNR: 1e-8 is added to the mean squared error."""


def measure_consistency(pictures: list[np.ndarray], lq: list[np.ndarray], recipes: list[str]) -> list[float]:
    """PSNR in dB over all three channels of each picture, degraded by its recipe, against its LQ picture.

    Args:
        pictures: (H, W, 3) uint8 BGR.
        lq: as many, of the same sizes.
        recipes: JSON of the recipe that made each LQ picture.
    """
    return [
        _psnr_db(degrade(picture, Recipe.model_validate_json(recipe)), wanted)
        for picture, wanted, recipe in zip(pictures, lq, recipes, strict=True)
    ]


def _psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2) / 255**2
    return float(-10 * np.log10(error + 10 ** (-SAME_DB / 10)))
