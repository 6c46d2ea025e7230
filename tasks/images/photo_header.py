"""Size, pixel format and orientation of a photo from its first bytes, before anything is decoded.

Written here because it runs once per photo on millions of photos, and because what it refuses never reaches a decoder.
Sources: ITU T.81 (JPEG), the PNG specification (third edition), the WebP container specification, Exif 2.32.
"""

import struct
from dataclasses import dataclass
from typing import Literal

PixelFormat = Literal[
    "rgb8", "rgba8", "grey8", "grey_alpha8", "palette8", "cmyk8", "rgb16", "rgba16", "grey16", "other", "animated"
]


class NotAnImageError(ValueError):
    """The bytes are no JPEG, PNG or WebP header."""


class HeaderTooShortError(ValueError):
    """The header goes on after the bytes that were given."""


@dataclass(frozen=True, slots=True)
class PhotoHeader:
    """What the header announces; sizes are those of the stored pixels, before any EXIF rotation."""

    file_format: Literal["jpeg", "png", "webp"]
    width_px: int
    height_px: int
    pixel_format: PixelFormat
    exif_orientation: int = 1  # 1 to 8; 1 = upright

    @property
    def is_turned(self) -> bool:
        """The upright photo has width and height exchanged."""
        return self.exif_orientation >= 5


def read_header(data: bytes) -> PhotoHeader:
    """The header of a JPEG, PNG or WebP file; `data` may be its beginning only.

    Raises:
        NotAnImageError: the bytes are something else, whatever the file's name says.
        HeaderTooShortError: more of the file is needed.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise HeaderTooShortError(f"the header does not end within {len(data)} bytes") from error
    if any(start.startswith(data) for start in (b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF")):
        raise HeaderTooShortError(f"{len(data)} bytes are no header")
    raise NotAnImageError(f"starts with {data[:8]!r}")


def _jpeg(data: bytes) -> PhotoHeader:
    orientation, at = 1, 2
    while True:
        if data[at] != 0xFF:
            raise NotAnImageError(f"no JPEG marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # any number of fill bytes may stand before a marker
            at += 1
            continue
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:  # markers without a length
            at += 2
            continue
        if marker in (0xD9, 0xDA):
            raise NotAnImageError("JPEG without a frame header")
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2:
            raise NotAnImageError(f"JPEG segment of length {length} at byte {at}")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            if not width or not height:
                raise NotAnImageError("JPEG that does not say its size")
            depths: dict[tuple[int, int], PixelFormat] = {(1, 8): "grey8", (3, 8): "rgb8", (4, 8): "cmyk8"}
            return PhotoHeader("jpeg", width, height, depths.get((components, bits), "other"), orientation)
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[at + 10 : at + 2 + length])
        at += 2 + length


_PNG_FORMATS: dict[tuple[int, int], PixelFormat] = {
    (0, 16): "grey16",
    (2, 8): "rgb8",
    (2, 16): "rgb16",
    (4, 8): "grey_alpha8",
    (6, 8): "rgba8",
    (6, 16): "rgba16",
}


def _png(data: bytes) -> PhotoHeader:
    if data[12:16] != b"IHDR":
        raise NotAnImageError("PNG without a header chunk") if len(data) >= 16 else IndexError
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if not width or not height:
        raise NotAnImageError("PNG that does not say its size")
    pixel_format = _PNG_FORMATS.get((colour, bits), "other")
    if colour == 3:
        pixel_format = "palette8"
    elif colour == 0 and bits <= 8:
        pixel_format = "grey8"
    orientation, at = 1, 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"acTL":
            pixel_format = "animated"
        elif kind == b"tRNS" and pixel_format == "rgb8":
            pixel_format = "rgba8"  # one colour is declared transparent
        elif kind == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
        elif kind in (b"IDAT", b"IEND"):
            return PhotoHeader("png", width, height, pixel_format, orientation)
        at += 12 + length


def _webp(data: bytes) -> PhotoHeader:
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise NotAnImageError("WebP without a key frame") if len(data) >= 26 else IndexError
        width, height = struct.unpack_from("<HH", data, 26)
        return PhotoHeader("webp", width & 0x3FFF, height & 0x3FFF, "rgb8")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return PhotoHeader(
            "webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, "rgba8" if bits >> 28 & 1 else "rgb8"
        )
    if kind != b"VP8X":
        raise NotAnImageError(f"WebP that starts with a chunk {kind!r}") if len(data) >= 16 else IndexError
    flags, width_low, width_high, height_low, height_high = struct.unpack_from("<B3xHBHB", data, 20)
    width, height = (width_high << 16 | width_low) + 1, (height_high << 16 | height_low) + 1
    pixel_format: PixelFormat = "animated" if flags & 0x02 else "rgba8" if flags & 0x10 else "rgb8"
    orientation = _webp_exif(data) if flags & 0x08 else 1
    return PhotoHeader("webp", width, height, pixel_format, orientation)


def _webp_exif(data: bytes) -> int:
    """Orientation from the EXIF chunk, which stands behind the pixels: needs the whole file."""
    at = 12
    while True:
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            return _exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)
        if at >= int.from_bytes(data[4:8], "little") + 8:
            return 1  # announced, but not there


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory; 1 where it is absent or the block is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for i in range(entries):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * i)
            if tag == 0x0112 and kind == 3 and count == 1:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
