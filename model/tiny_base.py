"""A base model of Stable Diffusion's classes with few channels and random weights: for tests and first trials.

    python -m model.tiny_base FOLDER

It knows nothing of pictures; a model trained on it shows that the code runs, not that it restores.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from storage.extras import extra

with extra("train"):
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel


def make_tiny_base(folder: Path, seed: int = 0) -> Path:
    """Write `unet/`, `vae/` and `scheduler/` in diffusers layout, 4.5 MB; the same for the same seed.

    Pictures with sides of multiples of 16 px; latents are an eighth of a side, prompts 64 wide.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet: Any = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=(2, 4),
            cross_attention_dim=64,
            use_linear_projection=True,
            norm_num_groups=8,
        )
        vae: Any = AutoencoderKL(
            block_out_channels=(16, 32, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=8,
            sample_size=64,
            scaling_factor=0.18215,
        )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    schedule().save_pretrained(folder / "scheduler")
    return folder


def schedule() -> Any:  # noqa: ANN401 - a DDPMScheduler
    """The noise schedule of Stable Diffusion 2.1 base."""
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m model.tiny_base", description="Write a tiny random base model.")
    parser.add_argument("folder", type=Path)
    print(make_tiny_base(parser.parse_args().folder))
    sys.exit(0)
