"""The folder of one training run, readable without torch.

checkpoints/step-00001000/   model folders with `state/`; the last few
grids/step-00001000.png      LQ | restored | HQ
curves.jsonl                 one line per logging step
tensorboard/                 the same for TensorBoard
result.json                  written at the end, also of a run that failed
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from storage.code_version import code_version
from storage.errors import ExitCode
from storage.store import PART

ABOUT = "model.json"
"""What makes a folder a model."""
RESULT = "result.json"
CURVES = "curves.jsonl"
CHECKPOINTS = "checkpoints"
GRIDS = "grids"


def checkpoint_folder(output: Path, step: int) -> Path:
    """Where the checkpoint after `step` updates lies."""
    return output / CHECKPOINTS / f"step-{step:08d}"


def checkpoints(output: Path) -> list[Path]:
    """Every finished checkpoint, oldest first."""
    return sorted(path for path in (output / CHECKPOINTS).glob("step-*") if path.is_dir())


def has_begun(output: Path) -> bool:
    """Whether a run has trained in here."""
    return bool(checkpoints(output)) or (output / CURVES).exists()


def sweep(output: Path) -> None:
    """Remove the checkpoints that killed runs left half-written."""
    for part in (output / CHECKPOINTS).glob(f".*{PART}"):
        shutil.rmtree(part, ignore_errors=True)


def read_result(output: Path) -> dict[str, Any] | None:
    """How the run ended, or None while it has not."""
    try:
        return json.loads((output / RESULT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def result_of(code: ExitCode, meaning: str) -> dict[str, Any]:
    """The beginning of a result: how the run ended, and which code ran."""
    status = "failed" if code else "completed"
    return {"status": status, "exit_code": int(code), "meaning": meaning, "code_version": code_version()}


def write_result(output: Path, result: dict[str, Any]) -> None:
    """Say how the run ended; whole or not at all."""
    _write_whole(output / RESULT, json.dumps(result, indent=1, sort_keys=True) + "\n")


def forget_result(output: Path) -> None:
    """Of a run that goes on, because it failed or shall be longer."""
    (output / RESULT).unlink(missing_ok=True)


def append_curve(output: Path, line: dict[str, float]) -> None:
    """One more line of the curves."""
    with (output / CURVES).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def cut_curves(output: Path, step: int) -> None:
    """Forget what a killed run logged after its last checkpoint, a half-written line included."""
    path = output / CURVES
    if path.exists():
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        _write_whole(path, "".join(f"{line}\n" for line in kept))


def last_losses(output: Path) -> dict[str, float]:
    """Every loss term in the last line of the curves; nothing if there is none."""
    path = output / CURVES
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: value for name, value in json.loads(lines[-1]).items() if name.startswith("loss/")} if lines else {}


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
