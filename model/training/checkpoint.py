"""Checkpoints: model folders that also hold what a training needs to go on exactly where it was.

state/regularizer.safetensors    the finetuned regularizer's adapter
state/optimizer.safetensors      moments and counts of both optimizers
state/last.safetensors           with `ema_decay` only: the generator after the last update; the model is the average
state/state.json                 step, seconds, the loss scale of fp16, and the run's fingerprint

Order, flips, degradations and noise are functions of seed, step and crop: there is no random state to keep, and the
loader's position is the step.
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch

from model.model_folder import (
    TENSORS,
    About,
    load_tensors,
    new_folder,
    put_tensors,
    read_about,
    save_tensors,
    write_model,
)
from model.training.run_folder import checkpoint_folder, checkpoints
from model.training.train_step import Part, Training
from storage.errors import InputError

STATE = "state"
_REGULARIZER = f"{STATE}/regularizer.safetensors"
_OPTIMIZER = f"{STATE}/optimizer.safetensors"
_LAST = f"{STATE}/last.safetensors"
_FACTS = f"{STATE}/state.json"


class Position(NamedTuple):
    """How far a run has come."""

    step: int
    seconds: float


def save_checkpoint(output: Path, training: Training, about: About, seconds: float, fingerprint: str) -> Path:
    """Write the checkpoint of `about.step`, whole or not at all, and remove all but the last few."""
    folder = checkpoint_folder(output, about.step)
    if folder.exists() and not _is_intact(folder):
        shutil.rmtree(folder)  # `resume` passed it over
    if not folder.exists():
        with new_folder(folder) as aside:
            (aside / STATE).mkdir()
            write_model(aside, training.generator, about, instead=training.average)
            if training.average:
                save_tensors(aside / _LAST, training.generator.trained_tensors())
            save_tensors(aside / _REGULARIZER, training.regularizer.trainable_parameters())
            save_tensors(aside / _OPTIMIZER, _optimizer_tensors(training.parts))
            facts = {
                "step": about.step,
                "seconds": seconds,
                "num_skipped": training.num_skipped,
                "scaler": training.scaler.state_dict(),
                "fingerprint": fingerprint,
            }
            (aside / _FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    for old in checkpoints(output)[: -training.config.keep_checkpoints]:
        shutil.rmtree(old)
    return folder


def resume(output: Path, training: Training, fingerprint: str) -> Position:
    """Put the newest checkpoint that is intact into `training`; the position 0 where there is none.

    Raises:
        ValueError: it is of a run with another configuration.
    """
    for folder in reversed(checkpoints(output)):
        try:
            about, tensors = read_about(folder), load_tensors(folder / TENSORS)
            facts = json.loads((folder / _FACTS).read_text())
            regularizer, optimizer = load_tensors(folder / _REGULARIZER), load_tensors(folder / _OPTIMIZER)
            last = load_tensors(folder / _LAST) if (about["training"] or {}).get("ema_decay") else None
        except (OSError, ValueError) as error:
            print(f"checkpoint {folder.name} is left out: {error}", flush=True)
            continue
        if facts["fingerprint"] != fingerprint:
            raise InputError(_difference(folder, about["training"], training))
        if facts["step"] > training.config.steps:
            raise InputError(f"{folder} is beyond steps {training.config.steps}: raise steps, or choose another output")
        put_tensors(training.generator, tensors, folder)
        training.begin_average()
        if last is not None:
            put_tensors(training.generator, last, folder)
        _put_regularizer(training, regularizer)
        _put_optimizer_tensors(training.parts, optimizer)
        training.scaler.load_state_dict(facts["scaler"])
        training.num_skipped = facts.get("num_skipped", 0)  # which an older version did not keep
        return Position(facts["step"], facts["seconds"])
    return Position(0, 0.0)


def warm_start(folder: Path, training: Training) -> None:
    """Begin with the trained tensors of a model, and with its regularizer where it kept one.

    Raises:
        ValueError: it is no model, or of another network or base.
    """
    about = read_about(folder)
    if about["base"] != training.generator.hashes:
        raise InputError(f"warm_start {folder} was trained on another base than {training.config.network.base}")
    put_tensors(training.generator, load_tensors(folder / TENSORS), folder)
    training.begin_average()
    if (folder / _REGULARIZER).is_file():
        _put_regularizer(training, load_tensors(folder / _REGULARIZER))


def _is_intact(folder: Path) -> bool:
    try:
        read_about(folder)
    except ValueError:
        return False
    return True


def _put_regularizer(training: Training, tensors: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in training.regularizer.trainable_parameters().items():
            parameter.copy_(tensors[name])


def _optimizer_tensors(parts: dict[str, Part]) -> dict[str, torch.Tensor]:
    return {
        f"{role}/{field}/{name}": value
        for role, part in parts.items()
        for name, parameter in part.parameters.items()
        for field, value in part.optimizer.state[parameter].items()
    }


def _put_optimizer_tensors(parts: dict[str, Part], tensors: dict[str, torch.Tensor]) -> None:
    for key, value in tensors.items():
        role, field, name = key.split("/", 2)
        parameter = parts[role].parameters[name]
        device = "cpu" if field == "step" else parameter.device  # where AdamW keeps it
        parts[role].optimizer.state[parameter][field] = value.to(device, copy=True)  # not a view of the file


def _difference(folder: Path, theirs: dict[str, Any] | None, training: Training) -> str:
    mine = training.config.identity()
    keys = [key for key, value in mine.items() if (theirs or {}).get(key) != value] or ["snapshot or warm_start"]
    return f"{folder} belongs to a run with another {', '.join(keys)}: set it back, or choose another output"
