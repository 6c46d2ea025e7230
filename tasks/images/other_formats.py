"""BMP, GIF, TIFF, AVIF and HEIC: formats in which few photos come, through Pillow."""

import io
import struct
import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any, cast

from PIL import Image, ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from tasks.images.photo_header import (
    FileFormat,
    HeaderTooShortError,
    NotAnImageError,
    PhotoHeader,
    PixelFormat,
    is_read_here,
    read_header,
)
from tasks.images.rgb_profile import named_colours

warnings.filterwarnings("ignore", module=r"PIL\.")  # a file that is not read has its reason, others need no comment

FORMATS: dict[str, FileFormat] = {"BMP": "bmp", "GIF": "gif", "TIFF": "tiff", "AVIF": "avif", "HEIF": "heic"}
"""Pillow's names of the formats that are opened; no other of its readers ever sees a file."""

_MODES: dict[str, PixelFormat] = {
    **{"1": "grey8", "L": "grey8", "LA": "grey_alpha8", "P": "palette8", "PA": "palette8"},
    **{"RGB": "rgb8", "RGBX": "rgb8", "YCbCr": "rgb8", "RGBA": "rgba8", "CMYK": "cmyk8", "F": "float32"},
    **{"I;16": "grey16", "I;16B": "grey16", "I;16L": "grey16", "I;16N": "grey16"},
}
_NOT_THIS_ONE = (SyntaxError, IndexError, TypeError, struct.error)
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, OverflowError, RuntimeError)
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _SAMPLE_FORMAT, _PROFILE = 256, 257, 258, 277, 339, 34675


def any_header(data: bytes) -> PhotoHeader:
    """The header of a file of any format that is read; `data` is the whole file.

    Raises:
        NotAnImageError: it is of no such format, whatever its name says, or of one that is not installed.
        HeaderTooShortError: the header is incomplete or damaged.
    """
    try:
        return read_header(data)
    except NotAnImageError:
        if is_read_here(data):
            raise
        return _other_header(data)


def _other_header(data: bytes) -> PhotoHeader:
    try:
        if data.startswith(_TIFF_STARTS) and (floats := _float_tiff(data)):
            return floats
        with opened(data, readable_formats()) as image:
            return _header(image, data)
    except NotAnImageError as error:
        if data[4:8] == b"ftyp" and "HEIF" not in readable_formats():
            raise NotAnImageError(
                "HEIC needs an extra: run `make install EXTRAS=heic` in the project's folder"
            ) from error
        raise
    except _DAMAGE as error:
        raise HeaderTooShortError(f"{type(error).__name__}: {error}") from error


@cache
def readable_formats() -> tuple[str, ...]:
    """Those of FORMATS that are installed."""
    Image.init()
    with suppress(ImportError):  # the extra `heic`
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def opened(data: bytes, formats: Iterable[str]) -> ImageFile.ImageFile:
    """A file by the first of Pillow's readers in `formats` that takes it; only its header is read.

    In place of Image.open, which ultralytics replaces for the whole process by one that installs packages.

    Raises:
        NotAnImageError: none does.
    """
    for name in formats:
        reader, accepts = Image.OPEN[name]
        if accepts is None or accepts(data[:16]) is True:
            with suppress(*_NOT_THIS_ONE):
                return reader(io.BytesIO(data), b"")
    raise NotAnImageError(f"starts with {data[:8]!r}")


def _header(image: Image.Image, data: bytes) -> PhotoHeader:
    pixel_format = _MODES.get(image.mode, "other")
    if image.format == "TIFF" and pixel_format in ("rgb8", "rgba8"):
        bits = set(cast(Any, image).tag_v2.get(_BITS, (8,)))
        pixel_format = pixel_format if bits == {8} else "rgb16" if pixel_format == "rgb8" else "rgba16"
    if image.format != "HEIF" and getattr(image, "n_frames", 1) > 1:
        pixel_format = "animated"  # or a document of several pages; of several HEIC pictures one is the photo
    orientation = image.getexif().get(0x0112, 1)
    if orientation not in range(1, 9):
        orientation = 1
    profile = image.info.get("icc_profile")
    named = data.find(b"colrnclx", 0, 1 << 16)
    if profile is None and image.format in ("AVIF", "HEIF") and named > 0:
        numbers = data[named + 8 : named + 12]
        profile = named_colours(int.from_bytes(numbers[:2], "big"), int.from_bytes(numbers[2:], "big"))
    width, height = image.size
    if image.format == "TIFF" and orientation >= 5:  # whose size Pillow tells as it looks upright
        width, height = height, width
    return PhotoHeader(FORMATS[image.format or ""], width, height, pixel_format, orientation, profile)


def _float_tiff(data: bytes) -> PhotoHeader | None:
    """The header if the pixels are floating point numbers, which Pillow reads in grey only."""
    tags = ImageFileDirectory_v2(data[:8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    if set(tags.get(_SAMPLE_FORMAT, (1,))) != {3}:
        return None
    known = tags.get(_SAMPLES, 1) in (1, 3) and set(tags.get(_BITS, ())) == {32}
    return PhotoHeader("tiff", tags[_WIDTH], tags[_HEIGHT], "float32" if known else "other", 1, tags.get(_PROFILE))
