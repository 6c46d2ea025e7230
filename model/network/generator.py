"""The generator: VAE encoder, one U-Net step at a fixed t with the picture's own prompt, VAE decoder.

Shapes: pictures (B, 3, H, W), RGB in [-1, 1]; latents (B, 4, H/8, W/8) of about unit variance (with the VAE of Stable
Diffusion), always fp32; prompts (B, 77, 1024), fp32.
"""

from typing import Any

import torch
from torch import nn

from model.network.adapters import GENERATOR, add_adapter, lora_layers, lora_parameters, merge_adapter
from model.network.base import Base, base_hashes, load_base
from model.network.hfie import Hfie, NullPrompt, encoder_hash, load_encoder, load_null_prompt
from model.network.network_config import HfieConfig, NetworkConfig
from storage.errors import InputError


class Generator(nn.Module):
    """LQ pictures in, restored pictures out, in one step (eq. 2)."""

    def __init__(self, config: NetworkConfig, base: Base, embedder: Hfie | NullPrompt, hashes: dict[str, str]) -> None:
        """Put the adapters on `base`; `hashes` are those of every frozen file, for the model's folder."""
        super().__init__()
        self.config, self.hashes = config, hashes
        self.unet: Any = base.unet
        self.vae: Any = base.vae
        self.embedder = embedder
        self.alphas_cumprod = base.alphas_cumprod
        self.dtype: torch.dtype = self.unet.dtype
        self.latent_scale = float(self.vae.config.scaling_factor)
        add_adapter(self.unet, GENERATOR, config.unet)
        add_adapter(self.vae, GENERATOR, config.vae)
        self._keep_noise_in_fp32()

    @property
    def downsampling(self) -> int:
        """Pixels per latent along each side: 8."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        """Restored pictures of the size of `lq`; the sides must be multiples of `side_multiple_px`."""
        return self.decode(self.denoise(self.encode(lq), self.prompt(lq)))

    @property
    def side_multiple_px(self) -> int:
        """Pictures whose sides are multiples of this pass VAE and U-Net without rounding: 64."""
        return self.downsampling * 2 ** (len(self.unet.config.block_out_channels) - 1)

    def prompt(self, lq: torch.Tensor) -> torch.Tensor:
        """The prompt, fp32, that the picture itself gives."""
        return self.embedder(lq)

    def encode(self, lq: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """The latent z_L: the posterior's mode, or with `noise` (as z_L, N(0, 1)) a sample of it."""
        posterior = self.vae.encode(lq.to(self.dtype)).latent_dist
        latent = posterior.mode().float()
        if noise is not None:
            latent = latent + posterior.std.float() * noise
        return latent * self.latent_scale

    def denoise(self, z_l: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """The restored latent z_H (eq. 2), in fp32: `amplification` tells how errors of the predicted noise come out.

        The formula takes the very z_L that the U-Net was given: rounded for one of them only, it is not the latent
        whose noise was predicted.
        """
        z_l = z_l.to(self.dtype)
        t = self.config.timestep
        noise = self.unet(z_l, t, encoder_hidden_states=prompt.to(self.dtype)).sample.float()
        alpha_bar = float(self.alphas_cumprod[t])
        return (z_l.float() - (1 - alpha_bar) ** 0.5 * noise) / alpha_bar**0.5

    @property
    def amplification(self) -> float:
        """How much larger an error of the predicted noise is in z_H: 14.6 at t = 999, 0.76 at 273, 0.57 at 199."""
        alpha_bar = float(self.alphas_cumprod[self.config.timestep])
        return ((1 - alpha_bar) / alpha_bar) ** 0.5

    def decode(self, z_h: torch.Tensor) -> torch.Tensor:
        """The picture of a latent, fp32, clamped to [-1, 1]."""
        return self.vae.decode((z_h / self.latent_scale).to(self.dtype)).sample.float().clamp(-1, 1)

    def trained_tensors(self) -> dict[str, torch.Tensor]:
        """Everything that training decides, by name: both adapters, and the HFIE's head or the fixed prompt.

        Raises:
            ValueError: the adapters were merged.
        """
        adapters = {
            f"{part}.{name}": tensor
            for part in ("unet", "vae")
            for name, tensor in lora_parameters(getattr(self, part), GENERATOR).items()
        }
        if not adapters:
            raise InputError("the adapters were merged into the weights: open the model again to train or save it")
        head = {f"embedder.{name}": tensor for name, tensor in self.embedder.state_dict(keep_vars=True).items()}
        return adapters | {name: tensor for name, tensor in head.items() if not name.startswith("embedder.encoder.")}

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Those of the trained tensors that an optimizer moves; the regularizer's are not among them."""
        return {name: value for name, value in self.trained_tensors().items() if isinstance(value, nn.Parameter)}

    def merge_lora(self, dtype: torch.dtype | None = None) -> "Generator":
        """Add the adapters to the weights, for inference: a fifth less work; training is over then.

        Args:
            dtype: of the frozen weights, and of the work, from now on. Weights that are rounded after the sum, not
                before it too, keep a delta of 1 % of W in bf16 to 0.17 of itself instead of 0.23.
        """
        if not any(lora_layers(self)):
            return self
        merge_adapter(self.unet, GENERATOR)
        merge_adapter(self.vae, GENERATOR)
        if dtype is not None and dtype != self.dtype:
            self.dtype = dtype
            for network in (self.unet, self.vae, getattr(self.embedder, "encoder", None)):
                if network is not None:
                    network.to(dtype)
        self._keep_noise_in_fp32()
        return self

    def _keep_noise_in_fp32(self) -> None:
        """Run the U-Net's last layers in fp32: in bf16 their rounding alone costs 0.02 of a latent's unit variance."""
        if self.dtype != torch.float32:
            _run_in_fp32(self.unet.conv_norm_out)
            _run_in_fp32(self.unet.conv_out)


def _run_in_fp32(layer: nn.Module) -> None:
    forward = layer.float().forward

    def in_fp32(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float())

    layer.forward = in_fp32


def build_generator(config: NetworkConfig, dtype: torch.dtype = torch.float32, seed: int = 0) -> Generator:
    """A new generator on the CPU: base and encoder frozen in `dtype`, what is trained in fp32.

    Args:
        config: what it is made of.
        dtype: of the frozen weights, and of the work.
        seed: decides what is trained at the start; the LoRA adapters begin without effect.

    Raises:
        WeightsUnavailableError: base or encoder is missing or broken.
        ValueError: they are of another architecture, or do not fit each other.
    """
    base = load_base(config.base, dtype)
    hashes = base_hashes(config.base)
    prompt_dim = base.unet.config.cross_attention_dim
    if not isinstance(prompt_dim, int):
        raise InputError(f"base {config.base} has cross_attention_dim {prompt_dim}: take Stable Diffusion 2.1 base")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        embedder: Hfie | NullPrompt
        if isinstance(config.prompt, HfieConfig):
            encoder = load_encoder(config.prompt)
            hashes["encoder"] = encoder_hash(config.prompt, encoder)
            embedder = Hfie(config.prompt, encoder.to(dtype), prompt_dim)
        else:
            embedder = load_null_prompt(config.prompt, prompt_dim)
        return Generator(config, base, embedder, hashes)
