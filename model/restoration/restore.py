"""Restore pictures of any size with a trained model.

Example:
    restorer = Restorer.load(Path("runs/osdhuman/checkpoints/step-00035000"))
    [restored] = restorer.restore([cv2.imread("photo.jpg")])
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch.nn import functional

from model.model_folder import load_model
from model.network.generator import Generator
from model.network.weights import Device, Precision, resolve_device, resolve_precision
from model.restoration.colour import ColourCorrection, corrected
from model.restoration.tiling import tiled
from storage.errors import InputError
from storage.frozen import HOW, Frozen

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class RestoreConfig(Frozen):
    """How pictures are restored; the defaults are the paper's way for crops of 512 pixels."""

    upscale: Annotated[float, Field(ge=1)] = 1.0
    """The result is this many times as large as the picture."""
    colour: ColourCorrection = "none"
    """Whether the result gets the picture's colours; assumption: the paper corrects none."""
    batch_size: Annotated[PositiveInt, HOW] = 1
    """Pictures of one size that are worked on at the same time."""
    tile_px: PositiveInt = 1024
    """Larger pictures are worked on in tiles of this side; tiles see less of the scene, so large is better."""
    overlap_px: PositiveInt = 256
    """Least that neighbouring tiles share."""
    max_megapixels: Annotated[PositiveFloat, HOW] = 64.0
    """Pictures that need more than this are refused."""

    @model_validator(mode="after")
    def _tiles_overlap_by_half_at_most(self) -> "RestoreConfig":
        if self.overlap_px > self.tile_px // 2:
            raise ValueError(f"overlap_px {self.overlap_px} must be at most half of tile_px {self.tile_px}")
        return self


class Restorer:
    """A generator ready for inference, and how it is used."""

    def __init__(self, generator: Generator, config: RestoreConfig) -> None:
        """Take over `generator`: its adapters are merged, and it cannot be trained any more.

        Raises:
            ValueError: tiles do not fit the network.
        """
        self.config = config
        self.step_px = generator.side_multiple_px
        if config.tile_px % self.step_px or config.tile_px - config.overlap_px < self.step_px:
            raise InputError(
                f"tile_px {config.tile_px} must be a multiple of {self.step_px} and exceed overlap_px by it"
            )
        self.min_side_px = int(generator.unet.config.sample_size) * generator.downsampling
        self.generator = generator.merge_lora().eval().requires_grad_(False)
        if generator.dtype != torch.float32:  # where it is a sixth faster, also on a CPU
            self.generator.to(memory_format=torch.channels_last)

    @classmethod
    def load(
        cls, folder: Path, device: Device = "auto", dtype: Precision = "auto", config: RestoreConfig | None = None
    ) -> "Restorer":
        """The restorer of a model folder.

        Args:
            folder: a checkpoint of a training, or a version of the registry.
            device: where it runs; auto takes a GPU if there is one.
            dtype: of the work; auto is bf16 on a GPU that has it, else fp32.
            config: sizes, tiles and colours.

        Raises:
            ValueError: the folder is no model, or was changed.
            WeightsUnavailableError: the model's base or encoder is missing.
        """
        place = resolve_device(device)
        # Merged on the CPU in fp32 and rounded once: see `merge_lora`.
        generator = load_model(folder, "cpu").merge_lora(_DTYPES[resolve_precision(dtype, place)])
        return cls(generator.to(place), config or RestoreConfig())

    def restore(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Restored pictures, `upscale` times as large, in the same order.

        Pictures of one size are worked on together; mixing sizes costs nothing but that.

        Args:
            pictures: (H, W, 3) uint8 BGR each, of any size.

        Raises:
            ValueError: a picture is too large or no such array, or the network gives no finite values.
        """
        by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, picture in enumerate(pictures):
            self.working_size_px(picture)
            by_size[picture.shape].append(i)
        restored: dict[int, np.ndarray] = {}
        for alike in by_size.values():
            for start in range(0, len(alike), self.config.batch_size):
                batch = alike[start : start + self.config.batch_size]
                restored.update(zip(batch, self._restore_alike([pictures[i] for i in batch]), strict=True))
        return [restored[i] for i in range(len(pictures))]

    def working_size_px(self, picture: np.ndarray) -> tuple[int, int]:
        """Width and height in which a picture is worked on: the result's, or what makes the short side long enough.

        Raises:
            ValueError: `picture` is no picture, or would need too many pixels.
        """
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise InputError(f"a picture to restore is {picture.dtype} {picture.shape}: give (H, W, 3) uint8 arrays")
        height, width = picture.shape[:2]
        scale = max(self.config.upscale, self.min_side_px / min(height, width))
        size = round(width * scale), round(height * scale)
        if size[0] * size[1] > self.config.max_megapixels * 1e6:
            raise InputError(
                f"{width}x{height} pixels need work on {size[0]}x{size[1]}, more than {self.config.max_megapixels:g} "
                "megapixels: shrink or crop the picture"
            )
        return size

    def is_tiled(self, picture: np.ndarray) -> bool:
        """Whether the picture is too large for one piece."""
        return max(self.working_size_px(picture)) > self.config.tile_px

    def _restore_alike(self, pictures: list[np.ndarray]) -> Iterator[np.ndarray]:
        size = self.working_size_px(pictures[0])
        lq = np.stack([_resized(picture, size) for picture in pictures])
        height, width = pictures[0].shape[:2]
        target = round(width * self.config.upscale), round(height * self.config.upscale)
        for picture in self._restore_batch(lq):
            yield _resized(picture, target)

    @torch.inference_mode()
    def _restore_batch(self, lq_bgr: np.ndarray) -> np.ndarray:
        """(B, H, W, 3) uint8 BGR to the same; the short side has at least `min_side_px`."""
        height, width = lq_bgr.shape[1:3]
        pixels = torch.from_numpy(lq_bgr).to(next(self.generator.unet.parameters()).device)
        lq = pixels.flip(-1).permute(0, 3, 1, 2).float() / 127.5 - 1
        missing = -width % self.step_px, -height % self.step_px
        whole = functional.pad(lq, (0, missing[0], 0, missing[1]), mode="reflect")
        restored = corrected(self._generate(whole)[:, :, :height, :width], lq, self.config.colour)
        if not torch.isfinite(restored).all():
            raise InputError("the network gave values that are not finite: restore in fp32")
        eight_bit = ((restored.clamp(-1, 1) + 1) * 127.5).round().byte()
        return eight_bit.permute(0, 2, 3, 1).flip(-1).cpu().numpy()

    def _generate(self, lq: torch.Tensor) -> torch.Tensor:
        """What `Generator.forward` does, part by part in tiles; the prompt comes from the whole picture."""
        generator, ratio = self.generator, self.generator.downsampling
        pixels = {"tile": self.config.tile_px, "overlap": self.config.overlap_px, "step": self.step_px}
        latents = {name: length // ratio for name, length in pixels.items()}
        prompt = generator.prompt(lq)
        z_l = tiled(generator.encode, lq, **pixels)
        z_h = tiled(lambda z: generator.denoise(z, prompt), z_l, **latents)
        return tiled(generator.decode, z_h, **latents)


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`picture` at (width, height) pixels."""
    if picture.shape[1::-1] == size:
        return picture
    shrinks = size[0] < picture.shape[1]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
