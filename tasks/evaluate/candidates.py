"""What is judged: a model, a folder of pictures that anybody restored, or the LQ pictures as they are."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.network.weights import Device
from model.restoration.picture_files import UnusablePictureError, read_picture
from storage.digest import digest, sha256_of_file
from storage.errors import InputError
from storage.evaluation import Kind
from tasks.evaluate.pairing import pair, remarks

Restore = Callable[[list[str], list[np.ndarray]], list[np.ndarray | str]]
"""Crop ids and their LQ pictures, (H, W, 3) uint8 BGR → a picture for each, or the sentence why there is none."""


@dataclass(frozen=True)
class Contender:
    """Something that turns LQ pictures into better ones, by a name and by what decides its output."""

    label: str
    kind: Kind
    identity: str
    """Digest of what decides the pictures."""
    prepare: Callable[[Device], Restore]
    """Loads what is needed; called once, and only where there is work."""
    remarks: tuple[str, ...] = ()
    """What people must know of how its pictures were found, in sentences."""


def _safe(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.") or "contender"


def low_quality() -> Contender:
    """The LQ pictures themselves: what every model has to beat."""

    def prepare(device: Device) -> Restore:
        return lambda crop_ids, pictures: list(pictures)

    return Contender("lq", "lq", digest("lq"), prepare)


def model(folder: Path, label: str | None = None) -> Contender:
    """A model folder.

    Raises:
        ValueError: the folder holds no model.
    """
    about = folder / "model.json"  # holds the hashes of all files, which are compared when they are loaded
    if not about.is_file():
        raise InputError(f"{folder} is no model: it has no model.json")

    def prepare(device: Device) -> Restore:
        from model.restoration.restore import Restorer  # here, since reading a configuration must not import torch

        restorer = Restorer.load(folder, device=device)
        return lambda crop_ids, pictures: list(restorer.restore(pictures))

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

    def restore(crop_ids: list[str], pictures: list[np.ndarray]) -> list[np.ndarray | str]:
        return [_read(pairing.files.get(crop_id), folder) for crop_id in crop_ids]

    said = remarks(pairing, folder)
    return Contender(_safe(label or folder.absolute().name), "folder", identity, lambda device: restore, said)


def _sha256(path: Path) -> str | None:
    """Of the file, or None where it cannot be read: that costs its own row."""
    try:
        return sha256_of_file(path)
    except OSError:
        return None


def _read(path: Path | None, folder: Path) -> np.ndarray | str:
    if path is None:
        return f"no picture of it in {folder.name}"
    try:
        return read_picture(path).bgr
    except UnusablePictureError as error:
        return f"{path.name}: {error}"
