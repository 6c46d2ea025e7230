"""A photo's bytes to pixels: eight-bit colours in sRGB, or the reason why not."""

import zlib
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageFile

from storage.reasons import Reason
from storage.rejection import Rejection
from tasks.images.jpeg import decode_jpeg
from tasks.images.other_formats import opened, readable_formats
from tasks.images.photo_header import PhotoHeader
from tasks.images.srgb import UnknownColoursError, cmyk_in_srgb, in_srgb

_BACK = {
    **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM},
    **{5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE},
    8: Image.Transpose.ROTATE_270,
}
"""From upright to stored, for every EXIF orientation."""


class Pixels(NamedTuple):
    """A picture as it is looked at."""

    bgr: np.ndarray
    """(H, W, 3) uint8, sRGB."""
    alpha: np.ndarray | None = None
    """(H, W) uint8, 255 where opaque; None where the file says nothing of transparency."""


def decode(data: bytes, header: PhotoHeader) -> Pixels | Rejection:
    """Every pixel of a file in the place where it is stored, as `header` announces it.

    JPEG, and PNG and WebP in eight-bit colours, take the shortest way; the rest goes through Pillow.
    """
    if header.pixel_format in ("other", "animated"):
        return Rejection(Reason.PIXEL_FORMAT, detail=header.pixel_format)
    try:
        pixels = _decode(data, header)
    except UnknownColoursError as error:
        return Rejection(Reason.COLOUR_SPACE, detail=str(error))
    except (cv2.error, OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:
        return Rejection(Reason.DAMAGED_IMAGE, detail=" ".join(str(error).split()))
    if not isinstance(pixels, Rejection) and pixels.bgr.shape[:2] != (header.height_px, header.width_px):
        height, width = pixels.bgr.shape[:2]
        return Rejection(
            Reason.DAMAGED_IMAGE, detail=f"{width}x{height}, announced {header.width_px}x{header.height_px}"
        )
    return pixels


def _decode(data: bytes, header: PhotoHeader) -> Pixels | Rejection:
    if header.file_format == "jpeg":
        return _jpeg(data, header)
    if header.file_format == "png":
        whole = _checked_png(data)
        if isinstance(whole, Rejection):
            return whole
        data = whole
    if header.pixel_format == "float32":
        return _floats(data, header)
    if header.file_format in ("png", "webp") and header.pixel_format in ("rgb8", "rgba8"):
        return _eight_bit(data, header)
    return _by_pillow(data, header)


def _jpeg(data: bytes, header: PhotoHeader) -> Pixels | Rejection:
    pixels = decode_jpeg(data, "CMYK" if header.pixel_format == "cmyk8" else "BGR")
    if isinstance(pixels, Rejection):
        return pixels
    if header.pixel_format == "cmyk8":
        return Pixels(cmyk_in_srgb(pixels, header.icc_profile))
    return Pixels(in_srgb(pixels, header.icc_profile, header.pixel_format == "grey8"))


def _eight_bit(data: bytes, header: PhotoHeader) -> Pixels | Rejection:
    mode = cv2.IMREAD_UNCHANGED if header.pixel_format == "rgba8" else cv2.IMREAD_COLOR
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        return Rejection(Reason.TRUNCATED_IMAGE)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    colours = pixels if alpha is None else cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    return Pixels(in_srgb(colours, header.icc_profile, is_grey=False), alpha)


def _checked_png(data: bytes) -> bytes | Rejection:
    """The file if the checksum of every chunk holds; a missing end is added, since pixels do not depend on it."""
    at = 8
    while at + 8 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IEND":
            return data
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return Rejection(
                Reason.DAMAGED_IMAGE, detail=f"the checksum of the {kind.decode('latin-1')} chunk is wrong"
            )
        at = end
    if kind != b"IDAT" or at < len(data):
        return Rejection(Reason.TRUNCATED_IMAGE, detail=f"the {kind.decode('latin-1')} chunk ends too early")
    return data + b"\0\0\0\0IEND\xae\x42\x60\x82"


def _floats(data: bytes, header: PhotoHeader) -> Pixels | Rejection:
    """Numbers from 0 to 1; another range could mean anything."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if values is None:
        return Rejection(Reason.DAMAGED_IMAGE)
    low, high = float(values.min()), float(values.max())
    if not (low >= -1e-3 and high <= 1.001):  # also where one is not a number
        return Rejection(Reason.PIXEL_FORMAT, detail=f"float32 from {low:g} to {high:g}, not from 0 to 1")
    if header.icc_profile is not None:
        return Rejection(Reason.COLOUR_SPACE, detail="float32 with a colour profile")
    levels = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return Pixels(cv2.cvtColor(levels, cv2.COLOR_GRAY2BGR) if levels.ndim == 2 else levels)


def _by_pillow(data: bytes, header: PhotoHeader) -> Pixels | Rejection:
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # pyiqa switches it on for everybody
    with opened(data, ("PNG", "WEBP", *readable_formats())) as image:
        image.load()
        stored: Image.Image = image
        if header.file_format == "tiff" and header.exif_orientation > 1:  # the only one that Pillow turns by itself
            stored = image.transpose(_BACK[header.exif_orientation])
        return _converted(stored, header)


def _converted(image: Image.Image, header: PhotoHeader) -> Pixels:
    if image.mode == "CMYK":
        return Pixels(cmyk_in_srgb(np.asarray(image), header.icc_profile))
    if image.mode.startswith("I;16"):  # `convert` would cut off at 255
        colours = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    else:
        colours = image.convert("RGB")
    alpha = np.asarray(image.convert("RGBA").getchannel("A")) if image.has_transparency_data else None
    bgr = cv2.cvtColor(np.asarray(colours), cv2.COLOR_RGB2BGR)
    return Pixels(in_srgb(bgr, header.icc_profile, header.pixel_format.startswith("grey")), alpha)
