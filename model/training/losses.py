"""What the training minimises: eq. 4 for the generator, eq. 7 for the finetuned regularizer."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import nn

from model.network.adapters import GENERATOR, activate
from model.network.generator import Generator
from model.network.weights import WeightsUnavailableError
from model.training.regularizer import VSD_TIMESTEPS, Regularizer
from model.training.train_config import LossConfig
from storage.digest import digest
from storage.extras import extra


@dataclass(frozen=True)
class Draws:
    """Everything random in one update, decided by seed, step and crop alone: neither by batch nor by process."""

    posterior: torch.Tensor
    """(B, 4, h, w), N(0, 1): which sample of the VAE's posterior z_L is."""
    vsd_noise: torch.Tensor
    """(B, 4, h, w), N(0, 1)."""
    vsd_t: torch.Tensor
    """(B,) within VSD_TIMESTEPS."""
    diffusion_noise: torch.Tensor
    """(B, 4, h, w), N(0, 1)."""
    diffusion_t: torch.Tensor
    """(B,) in [0, 1000)."""


def draw(seed: int, step: int, crop_ids: Sequence[str], shape: tuple[int, ...], device: torch.device) -> Draws:
    """The draws of a batch whose latents have `shape` without its first dimension; made on the CPU for any device."""
    samples = [_draw_one(seed, step, crop_id, shape) for crop_id in crop_ids]
    return Draws(*(torch.stack(column).to(device) for column in zip(*samples, strict=True)))


def _draw_one(seed: int, step: int, crop_id: str, shape: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(int(digest("draws", seed, step, crop_id), 16))
    posterior, vsd_noise, diffusion_noise = torch.randn((3, *shape), generator=random)
    vsd_t = torch.randint(*VSD_TIMESTEPS, (), generator=random)
    diffusion_t = torch.randint(0, 1000, (), generator=random)
    return posterior, vsd_noise, vsd_t, diffusion_noise, diffusion_t


def load_lpips(net: str) -> nn.Module:
    """LPIPS, frozen: pictures (B, 3, H, W) in [-1, 1], two of them, to distances (B, 1, 1, 1).

    torchvision downloads its network once into TORCH_HOME.

    Raises:
        WeightsUnavailableError: the network is not here and cannot be downloaded.
    """
    with extra("train"):
        import lpips

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips names torchvision's weights the old way
            return lpips.LPIPS(net=net, verbose=False).requires_grad_(False)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsUnavailableError(
            f"the {net} network of LPIPS cannot be had ({str(error).splitlines()[0]}): put torchvision's file into "
            "TORCH_HOME/hub/checkpoints, or set losses.lpips to 0"
        ) from error


@dataclass(frozen=True)
class GeneratorLoss:
    """The generator's loss on one batch and what the rest of the update needs of it."""

    total: torch.Tensor
    """Scalar, eq. 4."""
    terms: dict[str, torch.Tensor]
    """Each term alone, before its weight, and figures of the VSD gradient; without gradient."""
    z_h: torch.Tensor
    """(B, 4, h, w): the restored latents, which the regularizer learns from."""
    prompt: torch.Tensor
    """(B, tokens, dim)."""
    restored: torch.Tensor
    """(B, 3, H, W) in [-1, 1]."""
    vsd_gradient: torch.Tensor | None
    """(B, 4, h, w), see `Vsd`."""
    decoded: torch.Tensor
    """z_H as the decoder got it: after the backward pass its `grad` comes from MSE and LPIPS alone."""

    def vsd_cosine(self) -> dict[str, float]:
        """After the backward pass: whether VSD pulls z_H the way of MSE and LPIPS (1), across (0) or against (-1)."""
        if self.vsd_gradient is None or self.decoded.grad is None:
            return {}
        fidelity = self.decoded.grad.flatten().float()
        return {"vsd/cosine": float(F.cosine_similarity(fidelity, self.vsd_gradient.flatten(), dim=0))}


def generator_loss(
    generator: Generator,
    regularizer: Regularizer,
    lpips: nn.Module | None,
    config: LossConfig,
    lq: torch.Tensor,
    hq: torch.Tensor,
    draws: Draws,
) -> GeneratorLoss:
    """Eq. 4: MSE + 2 LPIPS + VSD between the restored pictures and `hq`; both pictures (B, 3, H, W) in [-1, 1]."""
    activate(generator.unet, GENERATOR)  # the regularizer's backward pass needed its own
    prompt = generator.prompt(lq)
    z_h = generator.denoise(generator.encode(lq, draws.posterior), prompt)
    decoded = z_h.view_as(z_h)
    if decoded.requires_grad:
        decoded.retain_grad()
    restored = generator.decode(decoded)
    terms = {"loss/mse": F.mse_loss(restored, hq)}
    total = config.mse * terms["loss/mse"]
    if lpips is not None:
        terms["loss/lpips"] = lpips(restored, hq).mean()
        total = total + config.lpips * terms["loss/lpips"]
    gradient = None
    if config.vsd:
        vsd = regularizer.vsd(z_h, prompt, draws.vsd_noise, draws.vsd_t, config.vsd_weight)
        terms["loss/vsd"], gradient = vsd.loss, vsd.gradient
        total = total + config.vsd * terms["loss/vsd"]
        terms["vsd/gradient_rms"] = gradient.square().mean().sqrt()
        terms |= {f"vsd/{weight}_rms": rms for weight, rms in vsd.rms.items()}
    terms["loss/generator"] = total
    detached = {name: value.detach().float() for name, value in terms.items()}
    return GeneratorLoss(total, detached, z_h, prompt, restored, gradient, decoded)
