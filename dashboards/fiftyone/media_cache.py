"""Previews: JPEG files for the App, made of pictures inside Parquet when they are first shown, and never again."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dashboards.fiftyone.crop_records import CropFile
from storage.store import Store

PREVIEW_SIDE_PX = 1024
JPEG_QUALITY = 90
"""Crops are judged by eye for blur and blocks, so what JPEG adds must not be seen."""

OnProgress = Callable[[int], None]
"""Told how many more were done."""


def cache_folder(root: str) -> Path:
    """Where the previews and FiftyOne's own files of a root lie: in the user's cache, never among the data."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "personaforge" / hashlib.blake2b(root.encode(), digest_size=6).hexdigest()


def crop_preview(folder: Path, file: CropFile, crop_id: str) -> Path:
    """Where the preview of a crop lies, there or not."""
    return folder / "crops" / file.key / f"{crop_id}.jpg"


def write_crop_previews(folder: Path, file: CropFile, shown: frozenset[str], on_progress: OnProgress) -> None:
    """Make the previews of a file's crops that are shown and missing; holds one row group at a time."""
    here = shown.intersection(file.facts["crop_id"].to_pylist())
    missing = {crop_id for crop_id in here if not crop_preview(folder, file, crop_id).exists()}
    on_progress(len(here) - len(missing))
    if missing:
        for crop_id, pixels in crop_pixels(file, missing):
            write_preview(crop_preview(folder, file, crop_id), pixels)
            on_progress(1)


def crop_pixels(file: CropFile, crop_ids: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Crop id and (side, side, 3) uint8 BGR pixels of some crops of a file."""
    wanted = pa.array(sorted(crop_ids), pa.string())
    for batch in file.batches(["crop_id", "image"]):
        for row in batch.filter(pc.is_in(batch["crop_id"], wanted)).to_pylist():
            pixels = cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR)
            assert pixels is not None  # the pipeline encoded it
            yield row["crop_id"], pixels


def write_preview(path: Path, pixels: np.ndarray) -> None:
    """A JPEG of (H, W, 3) uint8 BGR pixels, at most PREVIEW_SIDE_PX on its longer side; whole or not at all."""
    height, width = pixels.shape[:2]
    scale = PREVIEW_SIDE_PX / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    with Store(str(path.parent)).new_file(path.name) as aside:
        aside.write_bytes(encoded.tobytes())
