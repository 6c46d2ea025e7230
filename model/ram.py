"""Convert the checkpoint of RAM (Recognize Anything), or of its degradation-aware version DAPE, into an image encoder.

    python -m model.ram ram_swin_large_14m.pth weights/ram_swin_large_14m.safetensors [--dape DAPE.pth]

Of 5.6 GB only the image encoder is kept: 196 million numbers. Its layers keep the names of the original Swin
Transformer there; timm moved each `downsample` from the end of a stage to the start of the next.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import save_file

from model.network.hfie import ImageEncoder
from model.network.network_config import SwinConfig
from model.network.weights import WeightsUnavailableError
from storage.errors import InputError
from storage.store import PART

Tensors = dict[str, torch.Tensor]

DAPE_SCALE = 1 / 8
"""DAPE's updates have rank 8 and loralib's default alpha, 1."""

_NOT_WEIGHTS = ("relative_position_index", "attn_mask")


def encoder_tensors(ram: Mapping[str, torch.Tensor], dape: Mapping[str, torch.Tensor] | None = None) -> Tensors:
    """The tensors of an `ImageEncoder` from those of RAM, whatever else it holds.

    Args:
        ram: what `model` in the published file holds.
        dape: the updates of q and v in every attention layer, as published; added to the weights.

    Raises:
        ValueError: `dape` belongs to another network.
    """
    tensors = {key: value for key, value in ram.items() if key.startswith(("visual_encoder.", "image_proj."))}
    for key, low in (dape or {}).items():
        if key.startswith("visual_encoder.") and key.endswith(".qkv.lora_A"):
            weight = key.replace("lora_A", "weight")
            if weight not in tensors:
                raise InputError(f"{key} has no counterpart {weight} in the RAM checkpoint")
            tensors[weight] = _merged(tensors[weight], low, dape[key.replace("lora_A", "lora_B")])  # type: ignore[index]
    return {
        _renamed(key): value.contiguous()
        for key, value in tensors.items()
        if not key.endswith(_NOT_WEIGHTS) and ".lora_" not in key
    }


def _renamed(key: str) -> str:
    key = key.replace("visual_encoder.", "swin.", 1)
    return re.sub(r"layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) + 1}.downsample", key)


def _merged(qkv: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """`qkv` (3 C, C) with the updates of q and v: `low` (2 r, C) and `high` (2 C, r) each hold one after the other."""
    width, rank = qkv.shape[1], low.shape[0] // 2
    merged = qkv.float().clone()
    merged[:width] += DAPE_SCALE * high[:width].float() @ low[:rank].float()
    merged[2 * width :] += DAPE_SCALE * high[width:].float() @ low[rank:].float()
    return merged.to(qkv.dtype)


def convert(source: Path, target: Path, dape: Path | None = None, config: SwinConfig | None = None) -> None:
    """Write the encoder of the checkpoint `source` to the safetensors file `target`.

    Raises:
        WeightsUnavailableError: a file is missing, is no checkpoint, or lacks a tensor of the encoder.
    """
    tensors = encoder_tensors(_opened(source), _opened(dape) if dape else None)
    with torch.device("meta"):
        expected = {key: value.shape for key, value in ImageEncoder(config or SwinConfig()).state_dict().items()}
    wrong = [key for key in expected if key not in tensors or tensors[key].shape != expected[key]]
    wrong += sorted(tensors.keys() - expected.keys())
    if wrong:
        raise WeightsUnavailableError(
            f"{source} is not RAM's Swin-L at 384: {len(wrong)} tensors are missing or differ, such as {wrong[0]}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}{PART}")
    save_file(tensors, aside)
    aside.replace(target)


def _opened(path: Path) -> Tensors:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return content.get("model", content)
    except (OSError, RuntimeError, UnpicklingError, AttributeError) as error:
        detail = str(error).splitlines()[0]
        raise WeightsUnavailableError(f"{path} is no checkpoint of tensors ({detail}): fetch it again") from error


def main(arguments: list[str] | None = None) -> int:
    """Convert one file; exit code 3 where it is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m model.ram", description="Convert RAM's checkpoint.")
    parser.add_argument("source", type=Path, metavar="IN.pth", help="ram_swin_large_14m.pth as published")
    parser.add_argument("target", type=Path, metavar="OUT.safetensors")
    parser.add_argument("--dape", type=Path, metavar="DAPE.pth", help="updates to add")
    options = parser.parse_args(arguments)
    try:
        convert(options.source, options.target, options.dape)
    except (WeightsUnavailableError, ValueError) as error:
        print(f"model.ram: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
