"""One update of generator and finetuned regularizer, on one device or many."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from model.network.adapters import GENERATOR, REGULARIZER, require_active
from model.network.generator import Generator, build_generator
from model.training.exit_codes import NonFiniteLossError
from model.training.losses import draw, generator_loss, load_lpips
from model.training.regularizer import Regularizer
from model.training.train_config import TrainConfig
from storage.errors import InputError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Pictures(NamedTuple):
    """What a training step saw and made, each (B, 3, H, W), RGB in [-1, 1]."""

    lq: torch.Tensor
    restored: torch.Tensor
    hq: torch.Tensor


class Part(NamedTuple):
    """Generator or regularizer as their optimizers see them."""

    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.AdamW


class Training:
    """The networks with their optimizers: `accumulate` a batch's parts one by one, then `apply` them."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        lpips: nn.Module | None = None,
        generator: Generator | None = None,
    ) -> None:
        """Build everything from the configuration, apart from networks that are given.

        Raises:
            WeightsUnavailableError: base, encoder or LPIPS is missing.
            ValueError: they are of another architecture.
        """
        self.config, self.accelerator = config, accelerator
        dtype, device = DTYPES[config.precision], accelerator.device
        self.generator = generator or build_generator(config.network, dtype, config.seed)
        if config.side_px % self.generator.side_multiple_px:
            raise InputError(f"side_px {config.side_px} must be a multiple of {self.generator.side_multiple_px}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed + 1)
            self.regularizer = Regularizer(self.generator)
        if lpips is None and config.losses.lpips:
            lpips = load_lpips(config.losses.lpips_net)
        self.lpips = lpips.to(device) if lpips is not None else None
        prepare(self.generator.to(device), config)
        self.parts = {
            GENERATOR: _part(self.generator.trainable_parameters(), config),
            REGULARIZER: _part(self.regularizer.trainable_parameters(), config),
        }
        # By hand instead of through accelerate, which would update the scale once per optimizer.
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self._crop_ids: list[str] = []
        self._faulty_crop_ids: list[str] = []
        self.num_skipped = 0
        """Updates in a row that were left out until now."""
        self.average: dict[str, torch.Tensor] = {}
        """Moving average of the generator's trainable parameters; empty without `ema_decay`."""
        self.begin_average()

    def begin_average(self) -> None:
        """Let the moving average be what the generator is now."""
        if self.config.ema_decay:
            parameters = self.generator.trainable_parameters()
            self.average = {name: value.detach().clone() for name, value in parameters.items()}

    def accumulate(self, batch: Mapping[str, Any], step: int) -> tuple[dict[str, float], Pictures]:
        """Add the gradients of one part of the batch; returns every loss term, and the pictures.

        The regularizer learns from the latents that the generator made before this update.
        """
        device, config = self.accelerator.device, self.config
        lq, hq = batch["lq"].to(device, non_blocking=True), batch["hq"].to(device, non_blocking=True)
        side = lq.shape[-1] // self.generator.downsampling
        shape = (self.generator.vae.config.latent_channels, side, side)
        draws = draw(config.seed, step, batch["crop_id"], shape, device)
        with self._autocast():
            loss = generator_loss(self.generator, self.regularizer, self.lpips, config.losses, lq, hq, draws)
        self._backward(loss.total, GENERATOR)
        terms = {name: float(value) for name, value in loss.terms.items()} | loss.vsd_cosine()
        total = terms["loss/generator"]
        if config.losses.vsd:
            with self._autocast():
                diffusion = self.regularizer.diffusion_loss(
                    loss.z_h, loss.prompt, draws.diffusion_noise, draws.diffusion_t
                )
            self._backward(diffusion, REGULARIZER)
            terms["loss/regularizer"] = float(diffusion.detach())
            total += terms["loss/regularizer"]
        if not math.isfinite(total):
            self._faulty_crop_ids += faulty_crops(batch["crop_id"], loss.z_h)
        self._crop_ids += batch["crop_id"]
        return terms, Pictures(lq, loss.restored.detach(), hq)

    def apply(self, step: int) -> dict[str, float]:
        """Update the weights with the mean gradient of all parts and devices; returns the gradients' norms.

        Where a loss or a gradient is not finite, nothing is changed, and `num_skipped` tells.

        Raises:
            NonFiniteLossError: more than `max_skipped` updates in a row were left out.
        """
        if self._must_skip(self._faulty_crop_ids, f"a loss is not finite at step {step}"):
            return {}
        norms = {}
        for name, (parameters, optimizer) in self.parts.items():
            with_gradient = [p for p in parameters.values() if p.grad is not None]
            if not with_gradient:
                continue
            average_gradients(with_gradient, self.accelerator)
            self.scaler.unscale_(optimizer)
            norms[f"gradient_norm/{name}"] = float(
                nn.utils.clip_grad_norm_(with_gradient, self.config.max_gradient_norm)
            )
        if not self.scaler.is_enabled():  # otherwise the scaler skips such a step and lowers its scale
            are_finite = all(math.isfinite(norm) for norm in norms.values())
            if self._must_skip([] if are_finite else self._crop_ids, f"a gradient is not finite at step {step}"):
                return {}
        for part in self.parts.values():
            for group in part.optimizer.param_groups:
                group["lr"] = learning_rate(self.config, step)
            if any(p.grad is not None for p in part.parameters.values()):
                self.scaler.step(part.optimizer)
            part.optimizer.zero_grad()
        self.scaler.update()
        self._add_to_average(step)
        self._crop_ids = []
        self.num_skipped = 0
        return norms

    @torch.no_grad()
    def _add_to_average(self, step: int) -> None:
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        for name, average in self.average.items():
            average.lerp_(self.parts[GENERATOR].parameters[name], 1 - decay)

    def _autocast(self) -> torch.autocast:
        dtype = DTYPES[self.config.precision]
        return torch.autocast(self.accelerator.device.type, dtype, enabled=dtype != torch.float32)

    def _backward(self, loss: torch.Tensor, adapter: str) -> None:
        require_active(self.generator.unet, adapter)
        self.scaler.scale(loss / self.config.accumulation).backward()

    def _must_skip(self, mine: list[str], fault: str) -> bool:
        """Leave out this update, or stop, on every device alike where one of them names crops."""
        crop_ids = gather_object(mine) if self.accelerator.num_processes > 1 else mine
        if not crop_ids:
            return False
        sentence = f"{fault}, with the crops {', '.join(sorted(crop_ids))}"
        if self.num_skipped >= self.config.max_skipped:
            raise NonFiniteLossError(sentence)
        self.num_skipped += 1
        self._crop_ids, self._faulty_crop_ids = [], []
        for part in self.parts.values():
            part.optimizer.zero_grad()
        if self.accelerator.is_main_process:
            print(f"{sentence}: this update is left out", flush=True)
        return True


def faulty_crops(crop_ids: Sequence[str], z_h: torch.Tensor) -> list[str]:
    """Which crops made a loss that is not finite: those of latents that are not, or else all of them."""
    is_faulty = ~torch.isfinite(z_h.detach()).flatten(1).all(dim=1)
    return [crop_id for crop_id, faulty in zip(crop_ids, is_faulty.tolist(), strict=True) if faulty] or list(crop_ids)


def average_gradients(parameters: list[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace the gradients by their mean over all devices.

    Instead of DistributedDataParallel: it cannot serve two losses that each leave the other's parameters without
    gradient, and the 12 million numbers of all adapters travel in one go.
    """
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def prepare(generator: Generator, config: TrainConfig) -> None:
    """Switch on what saves memory or time."""
    generator.train()
    if config.gradient_checkpointing:
        generator.unet.enable_gradient_checkpointing()
        generator.vae.enable_gradient_checkpointing()
    if config.channels_last:
        generator.unet.to(memory_format=torch.channels_last)
        generator.vae.to(memory_format=torch.channels_last)
    if config.compile:
        generator.unet.compile()
        generator.vae.encoder.compile()
        generator.vae.decoder.compile()


def learning_rate(config: TrainConfig, step: int) -> float:
    """Of the update after `step` others: rises over the warm-up, then stays, or falls towards 0 after the last."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    factor = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[config.decay]
    return config.learning_rate * factor


def _part(parameters: dict[str, nn.Parameter], config: TrainConfig) -> Part:
    unique = {id(parameter) for parameter in parameters.values()}
    assert len(unique) == len(parameters), "AdamW would take two steps with a tensor that is listed twice"
    optimizer = torch.optim.AdamW(
        parameters.values(), config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    return Part(parameters, optimizer)
