"""What is judged: a model, a folder of pictures that anybody restored, or the LQ pictures as they are."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from model.network.weights import Device
from storage.digest import digest, sha256_of_file
from storage.errors import InputError
from storage.evaluation import Kind

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
    """PNGs that any other program made of the benchmark's LQ pictures.

    They are called `CROP_ID.png`. If none is, but there are exactly as many as pictures in the benchmark, they belong
    to these in order: the files sorted by name, the pictures as they lie in the benchmark's files.

    Args:
        folder: where they lie; what is in folders below is not looked at.
        crop_ids: of the whole benchmark, in its order.
        label: what they are called in tables; by default like the folder.

    Raises:
        ValueError: there is no PNG, or neither names nor number fit.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.png"))}
    if not files:
        raise InputError(f"{folder} holds no PNG: give the folder of the restored pictures")
    if not files.keys() & set(crop_ids):
        if len(files) != len(crop_ids):
            raise InputError(
                f"no file in {folder} is named after a crop, and for their order {len(files)} files are not as many as"
                f" the benchmark's {len(crop_ids)} pictures: name them CROP_ID.png"
            )
        files = dict(zip(crop_ids, files.values(), strict=True))
    identity = digest([(crop_id, sha256_of_file(path)) for crop_id, path in sorted(files.items())])

    def restore(crop_ids: list[str], pictures: list[np.ndarray]) -> list[np.ndarray | str]:
        return [_read(files.get(crop_id), folder) for crop_id in crop_ids]

    return Contender(_safe(label or folder.absolute().name), "folder", identity, lambda device: restore)


def _read(path: Path | None, folder: Path) -> np.ndarray | str:
    if path is None:
        return f"no picture of it in {folder.name}"
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_BGR)
    return f"{path.name} is not a picture" if picture is None else picture
