"""Variational score distillation (eq. 6 and 7): pulls the generator's latents towards the base's pictures.

Two regularizers judge a noised latent: the frozen base, which knows good pictures, and a finetuned one, which follows
what the generator makes. Both are the generator's own U-Net, with its adapters off or with an adapter of their own.
"""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from model.network.adapters import GENERATOR, REGULARIZER, activate, add_adapter, lora_parameters
from model.network.generator import Generator

VSD_TIMESTEPS = (20, 980)
"""t of eq. 6 is uniform in this range, its end excluded."""
MIN_WEIGHT = 1e-4
"""Least denominator of eq. 6: where the frozen regularizer returns the latent unchanged it would be zero."""


class Vsd(NamedTuple):
    """The loss of eq. 6 and the gradient that it stands for."""

    loss: torch.Tensor
    """Scalar; its value is the mean square of `gradient`, which has no reason to fall."""
    gradient: torch.Tensor
    """(B, 4, h, w): the direction that z_H is moved against."""
    rms: dict[str, torch.Tensor]
    """Root mean square of the gradient under each weight, whichever was asked for."""


class Regularizer(nn.Module):
    """The finetuned and the frozen regularizer, both on the generator's U-Net.

    Every method leaves the generator's adapter active, or says so.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        # Not registered as a child: its weights belong to the generator.
        self.__dict__["unet"] = generator.unet
        self.alphas_cumprod, self.dtype = generator.alphas_cumprod, generator.dtype
        add_adapter(self.unet, REGULARIZER, generator.config.regularizer)
        activate(self.unet, GENERATOR)

    unet: Any

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """The finetuned regularizer's adapter by the names of its tensors."""
        return lora_parameters(self.unet, REGULARIZER)

    def vsd(
        self,
        z_h: torch.Tensor,
        prompt: torch.Tensor,
        noise: torch.Tensor,
        t: torch.Tensor,
        weight: Literal["dmd", "printed"] = "dmd",
    ) -> Vsd:
        """Eq. 6 on the generator's latents; gradients reach z_H only.

        With x0 the clean latent that a regularizer sees in the noised one, and w the mean of |z_H - x0_frozen| of each
        sample, the gradient is g = (x0_finetuned - x0_frozen) / w. As x0 = (z_t - sigma eps) / alpha, this is
        (sigma / alpha) (eps_frozen - eps_finetuned) / w: eq. 6 with the weight that DMD and OSEDiff give each t.
        As it is printed, eq. 6 is (eps_frozen - eps_finetuned) / mean of |eps_frozen - z_H|.

        Args:
            z_h: (B, 4, h, w) fp32, with gradient.
            prompt: (B, tokens, dim).
            noise: (B, 4, h, w), N(0, 1).
            t: (B,) within VSD_TIMESTEPS.
            weight: which of the two.
        """
        with torch.no_grad():
            noised = self._add_noise(z_h, noise, t)
            activate(self.unet, REGULARIZER)
            finetuned_noise = self._predict(noised, prompt, t)
            activate(self.unet, None)
            frozen_noise = self._predict(noised, prompt, t)
            activate(self.unet, GENERATOR)
            frozen, finetuned = self._clean(noised, frozen_noise, t), self._clean(noised, finetuned_noise, t)
            gradients = {
                "dmd": (finetuned - frozen) / _mean_distance(frozen, z_h),
                "printed": (frozen_noise - finetuned_noise) / _mean_distance(frozen_noise, z_h),
            }
            gradient = gradients[weight]
        rms = {name: value.square().mean().sqrt() for name, value in gradients.items()}
        return Vsd(F.mse_loss(z_h, (z_h - gradient).detach()), gradient, rms)

    def diffusion_loss(
        self, z_h: torch.Tensor, prompt: torch.Tensor, noise: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """Eq. 7: the finetuned regularizer learns to denoise what the generator makes.

        Leaves the regularizer's adapter active, since the backward pass follows. Shapes as in `vsd`; t in [0, 1000).
        """
        noised = self._add_noise(z_h.detach(), noise, t)
        activate(self.unet, REGULARIZER)
        return F.mse_loss(self._predict(noised, prompt.detach(), t), noise)

    def _predict(self, noised: torch.Tensor, prompt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.unet(noised.to(self.dtype), t, encoder_hidden_states=prompt.to(self.dtype)).sample.float()

    def _alpha_sigma(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        alpha_bar = self.alphas_cumprod.to(t.device)[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def _add_noise(self, clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = self._alpha_sigma(t)
        return alpha * clean + sigma * noise

    def _clean(self, noised: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = self._alpha_sigma(t)
        return (noised - sigma * noise) / alpha


def _mean_distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one - other).abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=MIN_WEIGHT)
