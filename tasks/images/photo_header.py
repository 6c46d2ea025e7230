"""Size, pixel format, orientation and colours of a photo from its first bytes, before anything is decoded.

JPEG, PNG and WebP are read here because that runs once per photo on millions of photos, and because what is refused
never reaches a decoder; other_formats.py has the rest.
Sources: ITU T.81 (JPEG), ICC.1:2022 annex B (profiles in JPEG), the PNG specification (third edition), the WebP
container specification, Exif 2.32, DCF 2.0.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.images.rgb_profile import ADOBE_RGB, SRGB_CHROMATICITIES, SRGB_CURVE, named_colours, rgb_profile

FileFormat = Literal["jpeg", "png", "webp", "bmp", "gif", "tiff", "avif", "heic"]
PixelFormat = Literal[
    "rgb8",
    "rgba8",
    "grey8",
    "grey_alpha8",
    "palette8",
    "cmyk8",
    "rgb16",
    "rgba16",
    "grey16",
    "float32",
    "other",
    "animated",
]

MAX_PROFILE_BYTES = 1 << 24
"""No colour profile is larger; the largest of printing presses have a few MB."""


class NotAnImageError(ValueError):
    """The bytes are the header of no format that is read."""


class HeaderTooShortError(ValueError):
    """The header goes on after the bytes that were given."""


@dataclass(frozen=True, slots=True)
class PhotoHeader:
    """What the header announces; sizes are those of the stored pixels, before any EXIF rotation."""

    file_format: FileFormat
    width_px: int
    height_px: int
    pixel_format: PixelFormat
    exif_orientation: int = 1  # 1 to 8; 1 = upright
    icc_profile: bytes | None = None
    """What the pixel values mean; None where nothing is said or sRGB, b"" where it cannot be told."""

    @property
    def is_turned(self) -> bool:
        """The upright photo has width and height exchanged."""
        return self.exif_orientation >= 5


_STARTS = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF")


def is_read_here(data: bytes) -> bool:
    """Whether `read_header` knows the format."""
    return data.startswith(_STARTS[:2]) or (data.startswith(_STARTS[2]) and data[8:12] == b"WEBP")


def read_header(data: bytes) -> PhotoHeader:
    """The header of a JPEG, PNG or WebP file; `data` may be its beginning only.

    Raises:
        NotAnImageError: the bytes are something else, whatever the file's name says.
        HeaderTooShortError: more of the file is needed.
    """
    try:
        if data.startswith(_STARTS[0]):
            return _jpeg(data)
        if data.startswith(_STARTS[1]):
            return _png(data)
        if data.startswith(_STARTS[2]) and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise HeaderTooShortError(f"the header does not end within {len(data)} bytes") from error
    if any(start.startswith(data) for start in _STARTS):
        raise HeaderTooShortError(f"{len(data)} bytes are no header")
    raise NotAnImageError(f"starts with {data[:8]!r}")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, first byte, first byte behind it) of every segment of a JPEG up to the start of the first scan.

    What lies between two segments is passed over, as every decoder does.

    Raises:
        NotAnImageError: what begins like a JPEG is none.
        IndexError: more of the file is needed.
        struct.error: the same.
    """
    at = 2
    while True:
        if data[at] != 0xFF:
            if at == 2:
                raise NotAnImageError(f"no JPEG marker at byte {at}")
            at = data.find(b"\xff", at)
            if at < 0:
                raise IndexError
        marker = data[at + 1]
        if marker == 0xFF:  # any number of fill bytes may stand before a marker
            at += 1
            continue
        if 0xD0 <= marker <= 0xD8 or marker in (0x00, 0x01):  # markers without a length; a zero makes it none
            at += 2
            continue
        if marker == 0xD9:
            raise NotAnImageError("JPEG without a scan")
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2:
            raise NotAnImageError(f"JPEG segment of length {length} at byte {at}")
        yield marker, at, at + 2 + length
        if marker == 0xDA:
            return
        at += 2 + length


def is_frame(marker: int) -> bool:
    """Whether a JPEG segment is a frame header, which holds the size."""
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def _jpeg(data: bytes) -> PhotoHeader:
    frame, exif = None, b""
    profile: dict[int, bytes] = {}
    num_parts = 0
    for marker, at, end in jpeg_segments(data):
        if is_frame(marker):
            frame = struct.unpack_from(">BHHB", data, at + 4)
        elif marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            exif = data[at + 10 : end]
        elif marker == 0xE2 and data[at + 4 : at + 16] == b"ICC_PROFILE\0":
            profile[data[at + 16]], num_parts = data[at + 18 : end], data[at + 17]
    if frame is None:
        raise NotAnImageError("JPEG without a frame header")
    bits, height, width, components = frame
    if not width or not height:
        raise NotAnImageError("JPEG that does not say its size")
    depths: dict[tuple[int, int], PixelFormat] = {(1, 8): "grey8", (3, 8): "rgb8", (4, 8): "cmyk8"}
    orientation, colours = _exif(exif)
    if profile:
        is_whole = sorted(profile) == list(range(1, num_parts + 1))
        colours = b"".join(profile[part] for part in sorted(profile)) if is_whole else b""
    return PhotoHeader("jpeg", width, height, depths.get((components, bits), "other"), orientation, colours)


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
    about_colours: dict[bytes, bytes] = {}
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"acTL":
            pixel_format = "animated"
        elif kind == b"tRNS" and pixel_format == "rgb8":
            pixel_format = "rgba8"  # one colour is declared transparent
        elif kind == b"eXIf":
            orientation, _ = _exif(data[at + 8 : at + 8 + length])
        elif kind in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"):
            about_colours[kind] = data[at + 8 : at + 8 + length]
        elif kind in (b"IDAT", b"IEND"):
            return PhotoHeader("png", width, height, pixel_format, orientation, _png_colours(about_colours))
        at += 12 + length


def _png_colours(chunks: dict[bytes, bytes]) -> bytes | None:
    """The profile that a PNG's chunks mean, by their order of precedence; see PhotoHeader.icc_profile."""
    try:
        if b"cICP" in chunks:
            return named_colours(*chunks[b"cICP"][:2])
        if b"iCCP" in chunks:
            packed = chunks[b"iCCP"].split(b"\0", 1)[1][1:]
            return zlib.decompressobj().decompress(packed, MAX_PROFILE_BYTES)
        if b"sRGB" in chunks or not chunks:
            return None
        gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big") / 100_000
        primaries = SRGB_CHROMATICITIES
        if b"cHRM" in chunks:
            primaries = tuple(value / 100_000 for value in struct.unpack(">8I", chunks[b"cHRM"]))
        is_srgb = np.allclose(primaries, SRGB_CHROMATICITIES, atol=0.002)
        if is_srgb and (not gamma or abs(gamma * 2.2 - 1) < 0.02):  # 1/2.2 is what the specification has sRGB say
            return None
        return rgb_profile((1 / gamma,) if gamma else SRGB_CURVE, primaries)
    except (zlib.error, IndexError, struct.error, TypeError, ArithmeticError):
        return b""


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
    exif = _webp_chunk(data, b"EXIF").removeprefix(b"Exif\0\0") if flags & 0x08 else b""
    orientation, colours = _exif(exif)
    if flags & 0x20:
        colours = _webp_chunk(data, b"ICCP")
    return PhotoHeader("webp", width, height, pixel_format, orientation, colours)


def _webp_chunk(data: bytes, wanted: bytes) -> bytes:
    """The content of a chunk, empty where it is announced but not there. EXIF stands behind the pixels."""
    at = 12
    while True:
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == wanted:
            if at + 8 + length > len(data):
                raise IndexError
            return data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
        if at >= int.from_bytes(data[4:8], "little") + 8:
            return b""


def _exif(tiff: bytes) -> tuple[int, bytes | None]:
    """Orientation, 1 where none is given, and the profile that a camera means by its name alone.

    "R03" is the optional colour space of DCF 2.0, Adobe RGB, for which many cameras add no profile.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1, None

    def directory(pointer: bytes) -> dict[int, tuple[int, int, bytes]]:
        """Tag → type, count and the four bytes of its value or offset, as far as the directory is there."""
        try:
            (offset,) = struct.unpack(order + "I", pointer)
            (num_entries,) = struct.unpack_from(order + "H", tiff, offset)
            entries = [struct.unpack_from(order + "HHI4s", tiff, offset + 2 + 12 * i) for i in range(num_entries)]
        except struct.error:
            return {}
        return {tag: (kind, count, value) for tag, kind, count, value in entries}

    first = directory(tiff[4:8])
    kind, count, value = first.get(0x0112, (0, 0, b""))
    orientation = struct.unpack_from(order + "H", value)[0] if (kind, count) == (3, 1) else 1
    interoperability = directory(directory(first.get(0x8769, (0, 0, b""))[2]).get(0xA005, (0, 0, b""))[2])
    is_adobe_rgb = interoperability.get(1, (0, 0, b""))[2][:3] == b"R03"
    return orientation if 1 <= orientation <= 8 else 1, ADOBE_RGB if is_adobe_rgb else None
