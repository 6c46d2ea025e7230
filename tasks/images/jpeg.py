"""JPEG to pixels without mercy: what the decoder only warns of is no picture, unless no pixel depends on it.

Sources: ITU T.81; warnings and their words are libjpeg's.
"""

import re
from typing import Literal

import numpy as np
import simplejpeg
from PIL import ImageFile

from storage.reasons import Reason
from storage.rejection import Rejection
from tasks.images.other_formats import opened
from tasks.images.photo_header import is_frame, jpeg_segments

_END = b"\xff\xd9"
_NO_END = "Premature end of JPEG file"
_EXTRA_BEFORE = re.compile(r"extraneous bytes before marker 0x([0-9a-f]{2})")


def decode_jpeg(data: bytes, mode: Literal["BGR", "CMYK"]) -> np.ndarray | Rejection:
    """(H, W, 3) BGR or (H, W, 4) CMYK with 255 = full ink, uint8, with every pixel that was encoded.

    Four faults touch no pixel and are passed over: no end marker, zeros in front of it, bytes between the header's
    segments, and a revision of JFIF that there never was. Everything else that the decoder says is the reason.
    """
    words: list[str] = []
    while len(words) < 4:
        try:
            pixels = simplejpeg.decode_jpeg(data, mode, strict=True)
        except ValueError as error:
            words.append(str(error).removeprefix("Warning: "))
        else:
            return 255 - pixels if mode == "CMYK" and _is_of_adobe(data) else pixels
        if "subsampling" in words[-1] and mode == "BGR":
            return _decode_leniently(data)
        mended = _mended(data, words[-1])
        if mended is None or mended == data:
            break
        data = mended
    if _NO_END in words:
        return Rejection(Reason.TRUNCATED_IMAGE, detail=_NO_END)
    return Rejection(Reason.DAMAGED_IMAGE, detail=words[-1])


def _is_of_adobe(data: bytes) -> bool:
    """Whether Adobe's marker stands in the header: CMYK is then stored as its negative."""
    return any(marker == 0xEE and data[at + 4 : at + 9] == b"Adobe" for marker, at, _ in jpeg_segments(data))


def _mended(data: bytes, words: str) -> bytes | None:
    """The same picture without the fault that the decoder complains of; None if pixels may depend on it."""
    if words == _NO_END:
        return data + _END if _has_every_scan(data) else None
    extra = _EXTRA_BEFORE.search(words)
    if extra and extra[1] == "d9":
        return data[: data.rfind(_END)].rstrip(b"\0") + _END
    if "JFIF revision" in words or (extra and not "d0" <= extra[1] <= "d7"):
        return _with_plain_header(data)
    return None


def _with_plain_header(data: bytes) -> bytes:
    """Without anything between the segments, and with JFIF's revision 1.1."""
    segments = [data[at:end] for _, at, end in jpeg_segments(data)]
    *_, (_, _, scan) = jpeg_segments(data)
    plain = [s[:9] + b"\1\1" + s[11:] if s[4:9] == b"JFIF\0" else s for s in segments]
    return b"\xff\xd8" + b"".join(plain) + data[scan:]


def _has_every_scan(data: bytes) -> bool:
    """Whether the scans that are there hold every component to its last bit.

    A progressive file that was cut between two scans decodes without a word, into a coarser picture.
    """
    missing: dict[int, set[int]] = {}
    is_progressive, scan = False, 0
    for marker, at, _ in jpeg_segments(data):
        scan = at
        if is_frame(marker):
            is_progressive = marker in (0xC2, 0xCA)
            components = data[at + 10 : at + 10 + 3 * data[at + 9] : 3]
            missing = {component: set(range(64 if is_progressive else 1)) for component in components}
    while scan >= 0:
        num = int.from_bytes(data[scan + 4 : scan + 5], "big")
        about = data[scan + 5 : scan + 8 + 2 * num]
        if len(about) == 2 * num + 3:
            first, last, bits = about[-3:]
            if not is_progressive or not bits & 0x0F:  # the lowest bit comes last
                for component in about[: 2 * num : 2]:
                    missing.get(component, set()).difference_update(range(first, last + 1))
        scan = data.find(b"\xff\xda", scan + 2)
    return not any(missing.values())


def _decode_leniently(data: bytes) -> np.ndarray | Rejection:
    """(H, W, 3) BGR by Pillow, which also reads components of unusual proportions, but tells only coarse damage."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # pyiqa switches it on for everybody
    try:
        with opened(data, ["JPEG"]) as image:
            return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
    except (OSError, SyntaxError, ValueError) as error:
        return Rejection(Reason.DAMAGED_IMAGE, detail=str(error))
