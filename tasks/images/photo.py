"""One photo from its bytes to pixels, or the reason why not."""

from dataclasses import dataclass

import cv2
import numpy as np

from storage.frozen import Frozen
from storage.reasons import Reason
from storage.rejection import Rejection
from tasks.images.decode import Pixels, decode
from tasks.images.other_formats import any_header
from tasks.images.photo_header import HeaderTooShortError, NotAnImageError, PhotoHeader, PixelFormat


class PhotoConfig(Frozen):
    """Which photos are read at all."""

    max_pixels: int = 100_000_000
    """A header that announces more pixels (width times height) is refused before anything is decoded."""
    pixel_formats: tuple[PixelFormat, ...] = ("rgb8", "rgba8")
    """Pixel formats that are read, transparent ones only where every pixel is opaque. Grey, CMYK, palette, 16-bit and
    floating point files are refused unless named here, since their 8-bit RGB is not the photo that was taken; animated
    ones and "other" always."""


@dataclass(frozen=True, slots=True)
class OpenedPhoto:
    """A file's bytes whose header was accepted; nothing is decoded yet."""

    data: bytes
    header: PhotoHeader

    def size_px(self, apply_exif: bool) -> tuple[int, int]:
        """Width and height, upright if `apply_exif`."""
        size = self.header.width_px, self.header.height_px
        return size[::-1] if apply_exif and self.header.is_turned else size

    def pixels(self, apply_exif: bool) -> np.ndarray | Rejection:
        """The photo as (H, W, 3) uint8 BGR in sRGB, upright if `apply_exif`; refused unless it is opaque."""
        picture = self.picture(apply_exif)
        if isinstance(picture, Rejection):
            return picture
        if picture.alpha is not None and picture.alpha.min() < 255:
            return Rejection(Reason.PIXEL_FORMAT, detail=f"{self.header.pixel_format}, not opaque")
        return picture.bgr

    def picture(self, apply_exif: bool) -> Pixels | Rejection:
        """The photo with its transparency, upright if `apply_exif`."""
        picture = decode(self.data, self.header)
        if isinstance(picture, Rejection) or not apply_exif:
            return picture
        turn = self.header.exif_orientation
        return Pixels(upright(picture.bgr, turn), None if picture.alpha is None else upright(picture.alpha, turn))


def open_photo(data: bytes | Rejection, config: PhotoConfig) -> OpenedPhoto | Rejection:
    """A photo's bytes with its header, if that is acceptable; a reason why there are none is passed on."""
    if isinstance(data, Rejection):
        return data
    header = _accepted_header(data, config)
    return header if isinstance(header, Rejection) else OpenedPhoto(data, header)


def load_photo(data: bytes | Rejection, config: PhotoConfig, apply_exif: bool) -> np.ndarray | Rejection:
    """A photo's bytes as (H, W, 3) uint8 BGR, upright if `apply_exif`; a reason why there are none is passed on."""
    opened = open_photo(data, config)
    return opened if isinstance(opened, Rejection) else opened.pixels(apply_exif)


def _accepted_header(data: bytes, config: PhotoConfig) -> PhotoHeader | Rejection:
    try:
        header = any_header(data)
    except NotAnImageError as error:
        return Rejection(Reason.NOT_AN_IMAGE, detail=str(error))
    except HeaderTooShortError as error:
        return Rejection(Reason.TRUNCATED_IMAGE, detail=str(error))
    num_pixels = header.width_px * header.height_px
    if num_pixels > config.max_pixels:
        return Rejection(Reason.TOO_MANY_PIXELS, num_pixels, config.max_pixels, f"{header.width_px}x{header.height_px}")
    if header.pixel_format not in config.pixel_formats:
        return Rejection(Reason.PIXEL_FORMAT, detail=header.pixel_format)
    return header


def upright(pixels: np.ndarray, exif_orientation: int) -> np.ndarray:
    """`pixels` turned as EXIF orientation 1 to 8 says (Exif 2.32, tag 0x0112)."""
    if exif_orientation in (2, 4):
        return cv2.flip(pixels, 1 if exif_orientation == 2 else 0)
    if exif_orientation in (5, 7):
        pixels = cv2.flip(pixels, 1)
    turns = {
        3: cv2.ROTATE_180,
        5: cv2.ROTATE_90_COUNTERCLOCKWISE,
        6: cv2.ROTATE_90_CLOCKWISE,
        7: cv2.ROTATE_90_CLOCKWISE,
        8: cv2.ROTATE_90_COUNTERCLOCKWISE,
    }
    return cv2.rotate(pixels, turns[exif_orientation]) if exif_orientation in turns else pixels


def laplacian_variance(grey: np.ndarray) -> float:
    """Variance of the Laplacian of an (H, W) uint8 picture: low where it is blurred (HQ-ACF, step 2).

    The 3x3 kernel with -4 in the middle, on borders reflected without the edge pixel. Integers keep it exact: the
    response lies within ±1020, so 16 bits hold it.
    """
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S, ksize=1))
    return float(deviation[0, 0] ** 2)
