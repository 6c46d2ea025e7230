"""Train a small base model of Stable Diffusion's classes on crops: what `learning_proof.py` trains OSDHuman on.

A VAE that halves the sides (8 latent channels) and a U-Net that predicts noise at any of SD's 1,000 timesteps. It has
no text: its prompts are noise, which it learns to do without.
Everything random is drawn from the step's number, so a run that was cut goes on as if it had not been.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import nn

from model.training.losses import load_lpips

SEED = 0
VAE_STEPS, VAE_BATCH = 6000, 8
VAE_SIDE_PX, VAE_LAST_SIDE_PX, VAE_LAST_SHARE = 32, 64, 0.1
"""Most updates see small squares and L1 alone: what a VAE of this size needs first is many updates. The last tenth adds
LPIPS, which needs larger squares."""
POSTERIOR_LOG_VARIANCE = -8.0
"""Where the posterior's variance begins: from the usual 0 its noise hides the pictures for hundreds of updates."""
UNET_STEPS, UNET_BATCH, UNET_SIDE_PX = 4000, 8, 32
LATENT_CHANNELS, NORM_GROUPS = 8, 1
"""SD 2.1 has 4 channels at an eighth of the side, behind a VAE far larger. The decoder stays frozen, so what the VAE
gives back of HQ is the ceiling of any restoration, and must lie well above LQ."""
LPIPS_WEIGHT, COLOUR_WEIGHT, KL_WEIGHT = 0.2, 0.5, 1e-6
COLOUR_PX = 8
"""Colours are compared as averages over squares of this side too."""
BETA_END = 0.005
"""Of SD's kind of schedule, which ends at 0.012. The same noise hides more of a small picture than of a large one, so
schedules of small pictures end earlier (Hoogeboom et al. 2023, "simple diffusion"). Here sigma / alpha is
3.6 at t = 999, not 14.6: that is how much eq. 2 multiplies the errors of the predicted noise."""
PROMPT_TOKENS, PROMPT_DIM = 77, 64
LATE_T = 900
"""Half of the U-Net's timesteps are drawn from here on: the one step of OSDHuman is taken at the very end."""
LEARNING_RATE = 2e-3
SAVE_EVERY = 100


def make_base(crops: np.ndarray, folder: Path, vae_steps: int = VAE_STEPS, unet_steps: int = UNET_STEPS) -> Path:
    """Train what is not there yet and save it in diffusers layout: `vae/`, `unet/`, `scheduler/`.

    Args:
        crops: (N, H, W, 3) uint8 RGB, H and W at least UNET_SIDE_PX.
        folder: where the base is written; unfinished training lies in its subfolder `training/`.
        vae_steps: updates of the VAE.
        unet_steps: updates of the U-Net.
    """
    if not (folder / "vae").is_dir():
        vae = train_vae(crops, folder / "training", vae_steps)
        vae.register_to_config(scaling_factor=1 / latent_std(vae, crops))
        vae.save_pretrained(folder / "vae")
    if not (folder / "unet").is_dir():
        vae = AutoencoderKL.from_pretrained(folder / "vae").requires_grad_(False).eval()
        train_unet(vae, crops, folder / "training", unet_steps).save_pretrained(folder / "unet")
    schedule().save_pretrained(folder / "scheduler")
    return folder


def schedule() -> Any:  # a DDPMScheduler; diffusers hides its classes from type checkers
    return DDPMScheduler(beta_start=0.00085, beta_end=BETA_END, beta_schedule="scaled_linear", clip_sample=False)


def new_vae() -> Any:  # an AutoencoderKL
    return AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=NORM_GROUPS,
        mid_block_add_attention=False,
        sample_size=128,
    )


def new_unet() -> Any:  # a UNet2DConditionModel
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=PROMPT_DIM,
        use_linear_projection=True,
        norm_num_groups=NORM_GROUPS,
    )


def train_vae(crops: np.ndarray, folder: Path, steps: int) -> Any:
    """L1 between squares of the crops and what comes back of them, LPIPS at the end, and next to no KL."""
    torch.manual_seed(SEED)
    vae, lpips = new_vae(), load_lpips("alex")
    with torch.no_grad():
        vae.quant_conv.weight[LATENT_CHANNELS:] *= 0.1
        vae.quant_conv.bias[LATENT_CHANNELS:] = POSTERIOR_LOG_VARIANCE

    def loss(step: int) -> torch.Tensor:
        is_last = step >= steps * (1 - VAE_LAST_SHARE)
        pictures = some_squares(crops, step, VAE_BATCH, VAE_LAST_SIDE_PX if is_last else VAE_SIDE_PX)
        random = torch.Generator().manual_seed(step)
        posterior = vae.encode(pictures).latent_dist
        back = vae.decode(posterior.sample(random)).sample
        kl = KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()
        perceptual = LPIPS_WEIGHT * lpips(back, pictures).mean() if is_last else 0.0
        return F.l1_loss(back, pictures) + COLOUR_WEIGHT * _colour_loss(back, pictures) + perceptual + kl

    fit("vae", vae, loss, steps, folder)
    return vae.eval()


def _colour_loss(back: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    return F.l1_loss(F.avg_pool2d(back, COLOUR_PX), F.avg_pool2d(pictures, COLOUR_PX))


@torch.no_grad()
def latent_std(vae: Any, crops: np.ndarray) -> float:
    """Standard deviation of the latents of some crops, as SD's scaling factor was made."""
    return float(vae.encode(some_squares(crops, 0, 64, UNET_SIDE_PX)).latent_dist.mean.std())


def train_unet(vae: Any, crops: np.ndarray, folder: Path, steps: int) -> Any:
    """Plain noise prediction on the latents of the crops (Ho et al. 2020, eq. 14)."""
    torch.manual_seed(SEED)
    unet, alphas_cumprod = new_unet(), schedule().alphas_cumprod

    def loss(step: int) -> torch.Tensor:
        random = torch.Generator().manual_seed(step)
        with torch.no_grad():
            latents = vae.encode(some_squares(crops, step, UNET_BATCH, UNET_SIDE_PX)).latent_dist.sample(random)
        latents = latents * vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=random)
        any_t = torch.randint(0, 1000, (UNET_BATCH,), generator=random)
        late_t = torch.randint(LATE_T, 1000, (UNET_BATCH,), generator=random)
        t = torch.where(torch.arange(UNET_BATCH) % 2 == 0, any_t, late_t)
        alpha_bar = alphas_cumprod[t][:, None, None, None]
        noisy = alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise
        prompt = torch.randn((UNET_BATCH, PROMPT_TOKENS, PROMPT_DIM), generator=random)
        return F.mse_loss(unet(noisy, t, F.layer_norm(prompt, (PROMPT_DIM,))).sample, noise)

    fit("unet", unet, loss, steps, folder)
    return unet.eval()


def some_squares(crops: np.ndarray, step: int, num: int, side_px: int) -> torch.Tensor:
    """Random squares of random crops, half of them mirrored: (num, 3, side_px, side_px) RGB in [-1, 1]."""
    random = np.random.default_rng([SEED, step])
    squares = []
    for index in random.integers(len(crops), size=num):
        y, x = random.integers(np.array(crops.shape[1:3]) - side_px + 1)
        square = crops[index, y : y + side_px, x : x + side_px]
        squares.append(square[:, ::-1] if random.random() < 0.5 else square)
    pictures = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pictures.contiguous(memory_format=torch.channels_last)


def fit(name: str, network: nn.Module, loss_of: Callable[[int], torch.Tensor], steps: int, folder: Path) -> None:
    """AdamW with warm-up and cosine decay; goes on from `folder/NAME.pt`, which every SAVE_EVERY updates are saved to.

    Args:
        name: what is printed and saved.
        network: is changed in place.
        loss_of: number of the update → loss.
        steps: updates.
        folder: for the training's state.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    schedule_lr = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 50) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
    )
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule_lr}
    file, first, cpu_s, wall_s = folder / f"{name}.pt", 0, 0.0, 0.0
    if file.exists():
        state = torch.load(file, weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(state[key])
        first, cpu_s, wall_s = state["step"], state["cpu_s"], state["wall_s"]
    cpu_before, wall_before, mean_loss = time.process_time() - cpu_s, time.perf_counter() - wall_s, 0.0
    for step in range(first, steps):
        loss = loss_of(step)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule_lr.step()
        mean_loss += loss.item() / SAVE_EVERY
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            cpu_s, wall_s = time.process_time() - cpu_before, time.perf_counter() - wall_before
            state = {key: part.state_dict() for key, part in parts.items()}
            aside = file.with_suffix(".aside")
            torch.save({**state, "step": step + 1, "cpu_s": cpu_s, "wall_s": wall_s}, aside)
            aside.replace(file)
            print(f"{name} {step + 1}/{steps}: loss {mean_loss:.4f}, {cpu_s:.0f} CPU s, {wall_s:.0f} s", flush=True)
            mean_loss = 0.0
