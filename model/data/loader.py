"""Training batches from a snapshot: read, decoded, flipped and degraded by loader workers, in one order for all.

The global batch of step k is the k-th stretch of the order of `model.data.order`, cut into equal shares for the
processes; a loader worker makes every so-manieth batch of its process. So neither the number of workers nor, for the
same global batch, the number of processes changes what a step sees. A worker reads every row group of a window but
keeps only the crops that it will serve: all workers of a machine together hold about one window.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from model.data.degradation import DegradationConfig, degrade, draw_recipe
from model.data.item_rng import item_rng
from model.data.order import CropOrder, RowGroup, Window, crop_order
from model.data.published import open_published
from storage.errors import InputError, PersonaError
from storage.store import Store


class Batch(TypedDict):
    """What one process sees in one step."""

    crop_id: list[str]
    epoch: list[int]
    """Of each crop: a batch may reach over the end of one."""
    hq: torch.Tensor
    """(B, 3, H, W) float32, RGB in [-1, 1]."""
    lq: torch.Tensor
    """The same crops degraded."""


class TrainingCrop(NamedTuple):
    """One crop, twice."""

    crop_id: str
    epoch: int
    hq_bgr: np.ndarray
    lq_bgr: np.ndarray


@dataclass(frozen=True)
class CropStream(IterableDataset[Any]):
    """Batches of one process, without end; a worker of a DataLoader yields its share of them."""

    snapshot: Store
    order: CropOrder
    degradation: DegradationConfig
    side_px: int
    batch_size: int
    rank: int
    world_size: int
    start_step: int

    def __iter__(self) -> Iterator[dict[str, Any] | PersonaError]:
        """Batches with eight-bit pictures, a quarter of the memory; what is wrong with one comes in its place."""
        try:
            crops: list[TrainingCrop] = []
            for crop in self._crops():
                crops.append(crop)
                if len(crops) == self.batch_size:
                    yield _stacked(crops)
                    crops = []
        except PersonaError as error:
            yield error

    def _crops(self) -> Iterator[TrainingCrop]:
        for window in self.order.windows(self.start_step * self.batch_size * self.world_size):
            mine = window.rows[self._is_mine(window.start + np.arange(len(window.rows)))]
            stored = _read_rows(self.snapshot, window, mine)
            for row in mine:
                crop_id, picture = stored.pop(row)
                yield training_crop(
                    crop_id, picture, window.epoch, self.order.seed, side_px=self.side_px, degradation=self.degradation
                )

    def _is_mine(self, positions: np.ndarray) -> np.ndarray:
        worker = get_worker_info()
        number, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        share = positions // self.batch_size
        steps = share // self.world_size - self.start_step
        return (share % self.world_size == self.rank) & (steps >= 0) & (steps % num_workers == number)


def _read_rows(snapshot: Store, window: Window, rows: np.ndarray) -> dict[int, tuple[str, bytes]]:
    """Crop id and PNG of the given rows of a window."""
    found: dict[int, tuple[str, bytes]] = {}
    start = 0
    for group in window.groups:
        inside = np.sort(rows[(rows >= start) & (rows < start + group.num_rows)])
        if len(inside):
            crops = _read_group(snapshot, group, inside - start)
            found.update(zip(inside.tolist(), crops, strict=True))
        start += group.num_rows
    return found


def _read_group(snapshot: Store, group: RowGroup, rows: np.ndarray) -> list[tuple[str, bytes]]:
    with open_published(snapshot, group.path) as parquet:
        table = parquet.read_row_group(group.number, ["crop_id", "image.bytes"], use_threads=False)
    crops = table.take(rows).to_pylist()
    return [(crop["crop_id"], crop["image"]["bytes"]) for crop in crops]


def training_crop(
    crop_id: str, picture: bytes, epoch: int, seed: int, *, side_px: int, degradation: DegradationConfig
) -> TrainingCrop:
    """A stored crop as it is trained on in one epoch: framed, flipped or not, and degraded.

    Raises:
        ValueError: the picture cannot be decoded, or is smaller than `side_px`.
    """
    hq = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if hq is None:
        raise InputError(f"crop {crop_id} cannot be decoded: compare with `persona snapshot verify`")
    rng = item_rng("augmentation", seed, epoch, crop_id)
    hq = _framed(hq, side_px, rng, crop_id)
    if rng.random() < 0.5:
        hq = np.ascontiguousarray(hq[:, ::-1])
    return TrainingCrop(crop_id, epoch, hq, degrade(hq, draw_recipe(crop_id, epoch, seed, degradation)))


def _framed(hq: np.ndarray, side_px: int, rng: np.random.Generator, crop_id: str) -> np.ndarray:
    """A random square of the crop, from all of it to `side_px`, shrunk to that; the crop itself where it has that."""
    height, width = hq.shape[:2]
    largest = min(height, width)
    if largest < side_px:
        raise InputError(f"crop {crop_id} has {width}x{height} pixels: make side_px {side_px} no more than that")
    # Evenly over the logarithm: as many close-ups as whole people.
    side = round(largest * (side_px / largest) ** rng.random())
    left, top = rng.integers(width - side + 1), rng.integers(height - side + 1)
    square = hq[top : top + side, left : left + side]
    return square if side == side_px else cv2.resize(square, (side_px, side_px), interpolation=cv2.INTER_AREA)


def _stacked(crops: list[TrainingCrop]) -> dict[str, Any]:
    return {
        "crop_id": [crop.crop_id for crop in crops],
        "epoch": [crop.epoch for crop in crops],
        "hq": torch.from_numpy(np.stack([crop.hq_bgr for crop in crops])),
        "lq": torch.from_numpy(np.stack([crop.lq_bgr for crop in crops])),
    }


def _unit_range(pictures: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 BGR to (B, 3, H, W) float32 RGB in [-1, 1]."""
    return (pictures.flip(-1).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def train_loader(
    snapshot_folder: Path | str,
    *,
    batch_size: int,
    side_px: int,
    seed: int,
    degradation: DegradationConfig,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    start_step: int = 0,
) -> Iterator[Batch]:
    """Training batches of one process, without end, from step `start_step` on.

    Args:
        snapshot_folder: a published snapshot.
        batch_size: crops per step of this process.
        side_px: of the square pictures; larger crops are framed at random and shrunk.
        seed: decides order, frames, flips and degradations.
        degradation: how LQ is made of HQ.
        rank: number of this process.
        world_size: how many processes share each step.
        num_workers: loader processes of this process; 0 works in this process.
        start_step: steps that were seen before; nothing is read for them.

    Raises:
        ValueError: the folder is no snapshot, has nothing to train on, or is damaged; one sentence.
    """
    snapshot = Store(str(snapshot_folder))
    order = crop_order(snapshot, seed)
    stream = CropStream(snapshot, order, degradation, side_px, batch_size, rank, world_size, start_step)
    return _batches(
        DataLoader(stream, batch_size=None, num_workers=num_workers, worker_init_fn=_leave_signals_to_the_trainer)
    )


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Serve until the update in work is done, though Ctrl-C and SIGTERM often reach a whole group of processes.

    A worker ends when its trainer tells it to, or is gone.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _batches(loader: DataLoader[Any]) -> Iterator[Batch]:
    # OpenCV's threads would compete with the other workers'; and as they do not survive a fork, a worker that ended
    # those it inherits would wait for ever.
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    batches = iter(loader)  # starts the workers
    cv2.setNumThreads(num_threads)
    for batch in batches:
        if isinstance(batch, PersonaError):
            raise batch
        yield {
            "crop_id": batch["crop_id"],
            "epoch": batch["epoch"],
            "hq": _unit_range(batch["hq"]),
            "lq": _unit_range(batch["lq"]),
        }
