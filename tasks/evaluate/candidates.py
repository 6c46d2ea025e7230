"""What is judged: a model, a folder of pictures that anybody restored, or the LQ pictures as they are."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.network.weights import Device, Precision
from storage.digest import digest, sha256_of_file
from storage.errors import InputError
from storage.evaluation import Kind
from storage.parquet import Row
from storage.rejection import Rejection
from tasks.evaluate.pairing import pair, remarks
from tasks.images.picture_files import read_picture
from tasks.images.pictures import decoded

Pictures = list[np.ndarray | str]
"""A picture each, (H, W, 3) uint8 BGR, or the sentence why there is none."""

Restore = Callable[[list[Row]], Pictures]
"""Rows of a benchmark, with `crop_id`, `lq` and, where it has one, `hq` → what the contender makes of them."""


@dataclass(frozen=True)
class Contender:
    """Something that turns LQ pictures into better ones, by a name and by what decides its output."""

    label: str
    kind: Kind
    identity: str
    """Digest of what decides the pictures."""
    prepare: Callable[[Device, Precision | None], Restore]
    """Loads what is needed; called once, and only where there is work. Only a model has a precision."""
    remarks: tuple[str, ...] = ()
    """What people must know of how its pictures were found, in sentences."""


def _safe(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.") or "contender"


def low_quality() -> Contender:
    """The LQ pictures themselves: what every model has to beat."""

    def prepare(device: Device, precision: Precision | None) -> Restore:
        return lambda rows: [decoded(row, "lq") for row in rows]

    return Contender("lq", "lq", digest("lq"), prepare)


def high_quality() -> Contender:
    """The HQ pictures themselves, on a benchmark that has them: the check of every metric."""

    def prepare(device: Device, precision: Precision | None) -> Restore:
        return lambda rows: [decoded(row, "hq") if "hq" in row else "the benchmark has no HQ pictures" for row in rows]

    return Contender("hq", "hq", digest("hq"), prepare)


def model(folder: Path, label: str | None = None) -> Contender:
    """A model folder.

    Raises:
        ValueError: the folder holds no model.
    """
    about = folder / "model.json"  # holds the hashes of all files, which are compared when they are loaded
    if not about.is_file():
        raise InputError(f"{folder} is no model: it has no model.json")

    def prepare(device: Device, precision: Precision | None) -> Restore:
        from model.restoration.restore import Restorer  # here, since reading a configuration must not import torch

        restorer = Restorer.load(folder, device, precision or "auto")
        return lambda rows: list(restorer.restore([decoded(row, "lq") for row in rows]))

    return Contender(_safe(label or folder.absolute().name), "model", sha256_of_file(about)[:12], prepare)


def restored_folder(folder: Path, crop_ids: list[str], label: str | None = None) -> Contender:
    """Pictures that any other program made of the benchmark's LQ pictures, found as `pairing.pair` says.

    Args:
        folder: where they lie; what is in folders below is not looked at.
        crop_ids: of the whole benchmark, in its order.
        label: what they are called in tables; by default like the folder.

    Raises:
        ValueError: there is no picture, or it is not certain which one belongs to which crop.
    """
    pairing = pair(folder, crop_ids)
    identity = digest([(crop_id, _sha256(path)) for crop_id, path in sorted(pairing.files.items())])

    def restore(rows: list[Row]) -> Pictures:
        return [_read(pairing.files.get(row["crop_id"]), folder) for row in rows]

    name = _safe(label or folder.absolute().name)
    return Contender(name, "folder", identity, lambda device, precision: restore, remarks(pairing, folder))


def _sha256(path: Path) -> str | None:
    """Of the file, or None where it cannot be read: that costs its own row."""
    try:
        return sha256_of_file(path)
    except OSError:
        return None


def _read(path: Path | None, folder: Path) -> np.ndarray | str:
    if path is None:
        return f"no picture of it in {folder.name}"
    picture = read_picture(path)
    return f"{path.name}: {picture.words}" if isinstance(picture, Rejection) else picture.bgr
