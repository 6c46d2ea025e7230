r"""Which file is meant by the name that a source lists: the same photo in all the layouts that people unpack it to.

A list says `images/v1/patch8/a.jpg`, `C:\data\a.jpg`, `http://host/x/a.jpg?w=1` or `a`; the file lies at
`patch8/a.jpg`, `Images/a.JPG` or `a.png`. A file is the photo if one name is the end of the other, folder by
folder, the suffix aside. Where folders contradict each other (`train/a.jpg` is listed, `val/a.jpg` lies there) it is
another photo; and of two files that fit equally well neither is taken.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import xxhash

_JPEG = ".jpg", ".jpeg", ".jpe", ".jfif"
_OTHER = ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".ppm", ".pgm"
IMAGE_SUFFIXES = frozenset((*_JPEG, *_OTHER))
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")

Parts = tuple[str, ...]


def parts_of(path: str) -> Parts | None:
    """Folders and name of a listed path, whatever machine wrote it; None where it leads out or names nothing."""
    if "://" in path:
        path = unquote(urlsplit(path).path)
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if parts and len(parts[0]) == 2 and parts[0][1] == ":":  # the letter of a drive
        parts = parts[1:]
    if not parts or ".." in parts or "\0" in path:
        return None
    return tuple(parts)


def stem_of(name: str) -> str:
    """A file's name without the suffix of an image; other dots belong to the name."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.casefold() in IMAGE_SUFFIXES else name


def key_of(name: str) -> int:
    """64 bits that all files share which may be meant by this name."""
    return xxhash.xxh3_64_intdigest(stem_of(name).encode("utf-8", "surrogatepass"))


def is_image(path: str) -> bool:
    """Whether a file calls itself an image."""
    return PurePosixPath(path).suffix.casefold() in IMAGE_SUFFIXES


def is_litter(path: str) -> bool:
    """Whether a file is what macOS and Windows leave behind, such as `__MACOSX/._a.jpg`, and no photo."""
    parts = path.split("/")
    return "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini")


def best_matches(listed: Parts, files: Sequence[str]) -> list[int]:
    """The numbers of the files that a listed name means: none, one, or several between which nothing decides.

    Before a shorter agreement goes a longer one, before another suffix the same one.

    Args:
        listed: as `parts_of` gives it.
        files: paths below their places, whose names have the same `stem_of`.
    """
    found: list[tuple[tuple[bool, int, bool], int]] = []
    for number, file in enumerate(files):
        parts = tuple(part for part in file.split("/") if part not in ("", "."))
        common = min(len(parts), len(listed))
        if stem_of(parts[-1]) == stem_of(listed[-1]) and parts[-common:-1] == listed[-common:-1]:
            found.append(((parts == listed, common, parts[-1] == listed[-1]), number))
    best = max((rank for rank, _ in found), default=None)
    return [number for rank, number in found if rank == best]
