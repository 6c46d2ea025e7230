"""Pixel values of any colour space that a file declares, as sRGB.

Nearly all cameras and editors declare three curves and a matrix, which OpenCV applies three times as fast as lcms does;
everything else is lcms's, with its perceptual intent.
"""

import io
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageCms

from tasks.images.rgb_profile import SRGB, light_and_matrix

SAME_COLOURS = 2
"""A profile that moves no colour by more levels of 255 than this is sRGB under another name: the pixels stay."""

_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_STEPS = np.linspace(0, 255, 17).round().astype(np.uint8)
_STRIP_PX = 64  # rows at a time, which stay in the cache
_FULL_LIGHT = 16383  # what lies above, up to 65535, is brighter than sRGB can show

Convert = Callable[[np.ndarray], np.ndarray]
"""Pixels in the profile's mode, RGB as BGR, to (H, W, 3) uint8 BGR in sRGB; it may write into what it is given."""


class UnknownColoursError(ValueError):
    """What the pixel values mean cannot be told."""


def in_srgb(bgr: np.ndarray, icc_profile: bytes | None, is_grey: bool) -> np.ndarray:
    """(H, W, 3) uint8 BGR in sRGB.

    Args:
        bgr: the same in the profile's colours; it is written into, since another array of its size costs more time.
        icc_profile: of RGB, or of greys too if `is_grey`; None means sRGB.
        is_grey: the three channels are one.

    Raises:
        UnknownColoursError: the profile is damaged, or speaks of other pixels.
    """
    if icc_profile is None:
        return bgr
    mode, convert = _way_to_srgb(icc_profile)
    if mode == "CMYK" or (mode == "L" and not is_grey):
        raise UnknownColoursError(f"pixels in RGB with a profile for {mode}")
    if convert is None:
        return bgr
    return convert(np.ascontiguousarray(bgr[..., 0]) if mode == "L" else bgr)


def cmyk_in_srgb(cmyk: np.ndarray, icc_profile: bytes | None) -> np.ndarray:
    """(H, W, 3) uint8 BGR in sRGB of (H, W, 4) with 255 = full ink; without a profile by the plain formula.

    Raises:
        UnknownColoursError: the profile is damaged, or speaks of other pixels.
    """
    if icc_profile is None:
        return _bgr(Image.fromarray(cmyk, "CMYK").convert("RGB"))
    mode, convert = _way_to_srgb(icc_profile)
    if mode != "CMYK" or convert is None:
        raise UnknownColoursError(f"pixels in CMYK with a profile for {mode}")
    return convert(cmyk)


@lru_cache(maxsize=64)
def _way_to_srgb(icc_profile: bytes) -> tuple[str, Convert | None]:
    """Pillow's mode of the pixels that a profile speaks of, and the way to sRGB, None where they are that already."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        mode = _MODES[profile.profile.xcolor_space]
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, KeyError, ImageCms.PyCMSError) as error:
        raise UnknownColoursError(f"the colour profile cannot be used: {error}") from error
    if mode != "RGB":
        return mode, lambda pixels: _bgr(transform.apply(Image.fromarray(pixels, mode)))
    convert = _by_matrix(icc_profile) or (lambda bgr: _bgr(transform.apply(Image.fromarray(_turned(bgr)))))
    colours = np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), axis=-1).reshape(1, -1, 3)
    is_srgb = np.abs(convert(colours.copy()).astype(int) - colours).max() <= SAME_COLOURS
    return mode, None if is_srgb else convert


def _by_matrix(icc_profile: bytes) -> Convert | None:
    """The way to sRGB of a profile with three curves and a matrix: to light, to sRGB's light, to its levels."""
    theirs, srgb = light_and_matrix(icc_profile), light_and_matrix(SRGB)
    if theirs is None or srgb is None:
        return None
    light = np.ascontiguousarray(theirs[0].T[None, :, ::-1], dtype=np.float32)
    matrix = (np.linalg.solve(srgb[1], theirs[1])[::-1, ::-1] * _FULL_LIGHT).astype(np.float32)
    light_of_levels = srgb[0][0]
    levels = np.interp(np.arange(65536) / _FULL_LIGHT, light_of_levels, np.arange(256.0))
    levels = np.rint(levels).astype(np.uint8)

    def convert(bgr: np.ndarray) -> np.ndarray:
        for y in range(0, len(bgr), _STRIP_PX):
            mixed = cv2.transform(cv2.LUT(bgr[y : y + _STRIP_PX], light), matrix)
            whole = cv2.add(mixed, 0.0, dtype=cv2.CV_16U)  # type: ignore[call-overload]  # rounds, cuts off at 0 and 65535
            bgr[y : y + _STRIP_PX] = cv2.LUT(whole, levels)
        return bgr

    return convert


def _turned(pixels: np.ndarray) -> np.ndarray:
    """RGB from BGR, or the other way round; NumPy's way takes ten times as long."""
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _bgr(rgb: Image.Image) -> np.ndarray:
    return _turned(np.asarray(rgb))
