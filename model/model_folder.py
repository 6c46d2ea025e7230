"""A model on the disk: a folder that is complete or not there, holds no code, and knows what it was made from.

model.json               what it is: network, hashes of its base and of its files, snapshot, training, step, code
generator.safetensors    every trained tensor of the generator, about 31 MB at full size
state/                   in a checkpoint only: what a training needs to go on
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from model.network.generator import Generator, build_generator
from model.network.network_config import NetworkConfig
from model.network.weights import Device, resolve_device
from model.training.run_folder import ABOUT
from storage.code_version import code_version
from storage.digest import sha256_of_file
from storage.errors import InputError
from storage.frozen import Frozen
from storage.store import PART

TENSORS = "generator.safetensors"
FORMAT_VERSION = 1
KIND = "osdhuman"


class About(Frozen):
    """Where a model comes from."""

    snapshot: dict[str, str] | None = None
    """`path`, `id` and `digest` of the dataset that it was trained on."""
    training: dict[str, Any] | None = None
    """The training's whole configuration."""
    step: int = 0
    """Updates of the generator so far."""


def save_model(folder: Path, generator: Generator, about: About) -> None:
    """Write a model folder; it appears whole, or not at all."""
    with new_folder(folder) as aside:
        write_model(aside, generator, about)


def write_model(
    folder: Path, generator: Generator, about: About, instead: Mapping[str, torch.Tensor] | None = None
) -> None:
    """The files of a model into an existing folder; inside `new_folder`, where more belongs into it.

    Args:
        folder: to write into.
        generator: whose trained tensors are written.
        about: where it comes from.
        instead: tensors that take the place of the generator's, such as their moving average.
    """
    save_tensors(folder / TENSORS, {**generator.trained_tensors(), **(instead or {})})
    facts = {TENSORS: {"bytes": (folder / TENSORS).stat().st_size, "sha256": sha256_of_file(folder / TENSORS)}}
    content = {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "network": generator.config.model_dump(mode="json"),
        "base": generator.hashes,
        **about.model_dump(mode="json"),
        "code_version": code_version(),
        "files": facts,
    }
    (folder / ABOUT).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_model(folder: Path, device: Device = "auto", dtype: torch.dtype = torch.float32) -> Generator:
    """The generator of a model folder, ready to restore; its adapters are not merged yet.

    Args:
        folder: a checkpoint of a training, or a version of the registry.
        device: where it shall run.
        dtype: of the frozen weights, and of the work.

    Raises:
        ValueError: the folder is no model, was changed, or belongs to another base than the one that is there.
        WeightsUnavailableError: base or encoder is missing or broken.
    """
    about = read_about(folder)
    config = _network(folder, about)
    generator = build_generator(config, dtype)
    changed = [name for name, sha256 in about["base"].items() if generator.hashes.get(name) != sha256]
    if changed:
        raise InputError(f"{folder} was trained on another base: {', '.join(changed)} of {config.base} differ")
    put_tensors(generator, load_tensors(folder / TENSORS), folder)
    return generator.to(resolve_device(device)).eval()


def read_about(folder: Path) -> dict[str, Any]:
    """What `model.json` says, after every file that it names was compared with its hash.

    Raises:
        ValueError: the folder is no model, or was changed; one sentence.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        files, version, kind = about["files"], about["format_version"], about["kind"]
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no model folder: it has no {ABOUT}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / ABOUT} cannot be read: take another checkpoint") from error
    if (version, kind) != (FORMAT_VERSION, KIND):
        raise InputError(
            f"{folder} holds {kind} in format {version}; this version reads {KIND}, format {FORMAT_VERSION}"
        )
    for name, facts in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or path.stat().st_size != facts["bytes"]:
            raise InputError(f"{path} is missing or cut: take another checkpoint")
        if sha256_of_file(path) != facts["sha256"]:
            raise InputError(f"{path} was changed after it was written: its SHA-256 differs")
    return about


def put_tensors(generator: Generator, tensors: Mapping[str, torch.Tensor], origin: Path) -> None:
    """Overwrite everything that is trained.

    Raises:
        ValueError: names or shapes differ.
    """
    mine = generator.trained_tensors()
    wrong = sorted(mine.keys() ^ tensors.keys()) or [n for n in mine if mine[n].shape != tensors[n].shape]
    if wrong:
        raise InputError(f"{origin} belongs to another network: {len(wrong)} tensors differ, such as {wrong[0]}")
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """A safetensors file of copies on the CPU."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ValueError: it is none.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}): take another checkpoint") from error


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name `folder` when the block ends without an exception.

    Raises:
        FileExistsError: there is one already; nothing is overwritten.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is already there: choose another name, or remove it")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}{PART}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _network(folder: Path, about: dict[str, Any]) -> NetworkConfig:
    try:
        return NetworkConfig.model_validate(about["network"])
    except (KeyError, ValidationError) as error:
        raise InputError(f"{folder / ABOUT} describes a network that this version does not know") from error
