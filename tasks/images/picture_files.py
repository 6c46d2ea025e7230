"""A picture that somebody named, wherever it lies and whatever its format."""

import os
from pathlib import Path
from typing import get_args

from storage.reasons import Reason
from storage.rejection import Rejection
from tasks.images.decode import Pixels
from tasks.images.photo import PhotoConfig, open_photo
from tasks.images.photo_header import PixelFormat
from tasks.photos.local_folder import LocalFolder

EVERY_FORMAT = get_args(PixelFormat)


def read_picture(path: Path) -> Pixels | Rejection:
    """What a file shows, upright."""
    data = read_bytes(path)
    return data if isinstance(data, Rejection) else picture_of(data, PhotoConfig().max_pixels)


def read_bytes(path: Path) -> bytes | Rejection:
    """A file's bytes; links are followed to wherever they lead."""
    real = Path(os.path.realpath(path))
    found = LocalFolder(real.parent).read_exactly(real.name)
    return Rejection(Reason.MISSING_FILE) if found is None else found[0]


def picture_of(data: bytes, max_pixels: int) -> Pixels | Rejection:
    """What a file's bytes show, upright, unless its header announces more pixels."""
    opened = open_photo(data, PhotoConfig(max_pixels=max_pixels, pixel_formats=EVERY_FORMAT))
    return opened if isinstance(opened, Rejection) else opened.picture(apply_exif=True)
