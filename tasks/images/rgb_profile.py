"""ICC profiles for colours that a file names in another way: by gamma and chromaticities, or by a number.

So that everything is converted by one engine. Sources: ICC.1:2022 (matrix/TRC profiles), Adobe RGB (1998), ITU-T H.273
(coding-independent code points, which PNG's cICP chunk and AVIF's and HEIC's nclx boxes use).
"""

import struct

import numpy as np

Curve = tuple[float, ...]
"""Parameters of ICC's parametric curves from value to light: (gamma,), or the five of a power with a linear foot."""
Chromaticities = tuple[float, ...]
"""x and y of white, red, green and blue, in the order of PNG's cHRM chunk."""

SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
SRGB_CHROMATICITIES: Chromaticities = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)

_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB_CHROMATICITIES,
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_UNSPECIFIED = 2
_SRGB_LIKE = (1, _UNSPECIFIED, 6, 13, 14, 15)  # BT.709 and its equals mean a display of sRGB for still pictures

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def named_colours(primaries: int, transfer: int) -> bytes | None:
    """The profile of two code points of H.273: None for sRGB, b"" for what is not converted, such as HDR."""
    if primaries in (1, _UNSPECIFIED) and transfer in _SRGB_LIKE:
        return None
    if primaries not in _PRIMARIES or transfer not in _SRGB_LIKE:
        return b""
    return rgb_profile(SRGB_CURVE, _PRIMARIES[primaries])


def rgb_profile(curve: Curve, chromaticities: Chromaticities) -> bytes:
    """A matrix/TRC profile of version 4: the smallest that an ICC engine needs."""
    white, *_ = points = [np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in _pairs(chromaticities)]
    to_d50 = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    primaries = np.stack(points[1:], axis=1)
    colorants = to_d50 @ (primaries * np.linalg.solve(primaries, white))
    trc = b"para" + struct.pack(">IHH", 0, {1: 0, 5: 3}[len(curve)], 0) + _fixed(curve)
    tags = {f"{name}XYZ": b"XYZ \0\0\0\0" + _fixed(colorants[:, i]) for i, name in enumerate("rgb")}
    tags |= {"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50)} | {f"{name}TRC": trc for name in "rgb"}
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name.encode(), 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content
    size = 128 + len(table) + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s", size, 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (header + bytes(28) + _fixed(_D50)).ljust(128, b"\0") + table + body


def light_and_matrix(icc_profile: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """(3, 256) the light of red, green and blue at every level, and (3, 3) from light to CIE XYZ at D50.

    None where the profile has tables for colours instead, or is not understood.
    """
    try:
        (num_tags,) = struct.unpack_from(">I", icc_profile, 128)
        entries = [struct.unpack_from(">4sII", icc_profile, 132 + 12 * i) for i in range(min(num_tags, 100))]
        tags = {name: icc_profile[start : start + size] for name, start, size in entries}
        if any(name.startswith((b"A2B", b"D2B")) for name in tags):
            return None
        curves = np.stack([_light(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
        colorants = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    except (struct.error, KeyError, ValueError, ArithmeticError):
        return None
    return curves, np.array(colorants).T / 65536


def _light(tag: bytes) -> np.ndarray:
    """A curve at 0/255 to 255/255: ICC's `curv`, or the types of `para` that cameras and editors write."""
    level = np.arange(256) / 255
    kind, number = tag[:4], struct.unpack_from(">I" if tag[:4] == b"curv" else ">H", tag, 8)[0]
    if kind == b"curv" and number <= 1:
        return level ** (struct.unpack_from(">H", tag, 12)[0] / 256 if number else 1)
    if kind == b"curv":
        samples = np.array(struct.unpack_from(f">{number}H", tag, 12)) / 65535
        return np.interp(level, np.linspace(0, 1, number), samples)
    if kind != b"para" or number not in (0, 3):
        raise ValueError(f"a curve of kind {kind!r}, {number}")
    parameters = [value / 65536 for value in struct.unpack_from(f">{1 if number == 0 else 5}i", tag, 12)]
    if number == 0:
        return level ** parameters[0]
    gamma, a, b, c, d = parameters
    return np.where(level >= d, (a * level + b).clip(0) ** gamma, c * level)


def _pairs(values: Chromaticities) -> list[tuple[float, float]]:
    return list(zip(values[::2], values[1::2], strict=True))


def _fixed(values: "Curve | np.ndarray") -> bytes:
    """ICC's s15Fixed16Number."""
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


SRGB = rgb_profile(SRGB_CURVE, SRGB_CHROMATICITIES)
ADOBE_RGB = rgb_profile((563 / 256,), (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06))
