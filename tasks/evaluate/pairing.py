"""Which picture file belongs to which crop: programs that restore add to names in their own ways.

Real-ESRGAN writes NAME_out.png, SwinIR NAME_SwinIR.png, DiffBIR and SUPIR NAME_0.png, BasicSR and HAT
NAME_EXPERIMENT.png, Upscayl NAME_upscayl_4x_MODEL.png; OSEDiff, SeeSR, ResShift and HAODiff keep the name, the last one
also its .jpg. Scale factors stand behind a name with and without a `_`.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.errors import InputError
from tasks.photos.names import IMAGE_SUFFIXES, is_image

_SCALE_FACTOR = re.compile(r"[xX][0-9]+(?![0-9A-Za-z])")
_NUM_NAMED = 3


@dataclass(frozen=True)
class Pairing:
    """Files of a folder and the crops that they show."""

    files: dict[str, Path]
    """Crop id → file; crops without one are left out."""
    in_order: bool
    """No name holds an id, so the files were taken in order."""
    strangers: tuple[str, ...]
    """Names of pictures that belong to no crop."""


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers in them by value; hidden files are none.

    Raises:
        ValueError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the folder of the pictures")
    files = [path for path in folder.iterdir() if is_image(path.name) and not path.name.startswith(".")]
    files = [path for path in files if not path.is_dir()]
    if not files:
        below = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        where = f"; it has the folders {_listed(below)}, name the one that holds them" if below else ""
        raise InputError(f"{folder} holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))}){where}")
    return sorted(files, key=lambda path: _natural(path.name))


def pair(folder: Path, crop_ids: Sequence[str]) -> Pairing:
    """The pictures of a folder by the crops that they show.

    A name that holds exactly one crop id is that crop's. Only where no name holds any, and there are as many files as
    crops, they belong together in order.

    Args:
        folder: what is in folders below is not looked at.
        crop_ids: of the whole benchmark, in its order.

    Raises:
        ValueError: two files show one crop, a name holds two ids, or neither names nor number fit.
    """
    files, ids = picture_files(folder), frozenset(crop_ids)
    paired: dict[str, Path] = {}
    strangers = []
    for path in files:
        held = ids_in(path.stem, ids)
        if len(held) > 1:
            raise InputError(
                f"{path.name} in {folder} holds the names of two pictures, {held[0]} and {held[1]}: rename it"
            )
        if not held:
            strangers.append(path.name)
        elif held[0] in paired:
            raise InputError(
                f"{paired[held[0]].name} and {path.name} in {folder} both show {held[0]}: keep one of them"
            )
        else:
            paired[held[0]] = path
    if paired:
        return Pairing(paired, False, tuple(strangers))
    if len(files) != len(crop_ids):
        raise InputError(
            f"no name in {folder} holds the name of one of the benchmark's {len(crop_ids)} pictures, and to be taken in"
            f" order {len(files)} files are not as many: name them CROP_ID.png"
        )
    return Pairing(dict(zip(crop_ids, files, strict=True)), True, ())


def ids_in(stem: str, ids: Collection[str]) -> list[str]:
    """The ids that a file's name holds, sorted; one that only is part of another one does not count.

    An id ends where letters and digits do, or before a scale factor: `0001x4` holds 0001, `00012` does not.
    """
    name = unicodedata.normalize("NFC", stem)  # macOS takes letters apart
    if name in ids:
        return [name]
    edges = [i for i in range(len(name) + 1) if not (name[i - 1 : i].isalnum() and name[i : i + 1].isalnum())]
    ends = sorted({*edges, *(match.start() for match in _SCALE_FACTOR.finditer(name))})
    spans = [(i, j) for i in edges for j in ends if i < j and name[i:j] in ids]
    widest = [s for s in spans if not any(o[0] <= s[0] and s[1] <= o[1] and o != s for o in spans)]
    return sorted({name[i:j] for i, j in widest})


def remarks(pairing: Pairing, folder: Path) -> tuple[str, ...]:
    """What people must know of a pairing, in sentences; nothing where every file was found by its name."""
    said = []
    if pairing.in_order:
        said.append(f"no name in {folder.name} holds a crop id: the files were taken in order of their names")
    if pairing.strangers:
        num = len(pairing.strangers)
        said.append(
            f"{num:,} {'file' if num == 1 else 'files'} of no crop in {folder.name}: {_listed(pairing.strangers)}"
        )
    return tuple(said)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NUM_NAMED:,} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more


def _natural(name: str) -> list[str | int]:
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]
