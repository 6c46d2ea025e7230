"""Training in a process of its own: started, listened to, started again after a crash, given up with a reason."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from model.training.run_folder import RESULT, checkpoints, read_result
from storage.errors import ExitCode, PersonaError
from storage.frozen import Frozen

GRACE_S = 120.0
"""What a process that is told to stop may take to finish its update and to save it; a launcher gives its own 30 s."""
AWAY_S = 60.0
"""Pause before another try where a disk or a network was away; it doubles with every try."""

_PR_SET_PDEATHSIG = 1

Tell = Callable[[str], None]
"""Told every line that the process prints."""


class LaunchConfig(Frozen):
    """How the training process is started."""

    num_processes: PositiveInt = 1
    """Processes that train together, one per GPU."""
    cpu: bool = False
    """Several processes without GPUs."""
    max_tries: PositiveInt = 3
    """Starts before a training that keeps crashing is given up."""
    gpu_slots: NonNegativeInt = 1
    """Slots of Prefect's global limit `gpu` that are held meanwhile: one per GPU of the machine; 0 = none."""


class TrainingGaveUpError(PersonaError):
    """The training process ended without a model; the message says what its exit code means."""

    exit_code = ExitCode.TRAINING_GAVE_UP


def training_command(config_file: Path, launch: LaunchConfig) -> list[str]:
    """What starts `model.train` with this configuration, on one device or several."""
    module = ["-m", "model.train", str(config_file)]
    if launch.num_processes == 1:
        return [sys.executable, *module]
    number = str(launch.num_processes)
    if launch.cpu:  # `accelerate launch --cpu` starts a single process, unless MPI is installed
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", number, *module]
    options = ["--multi_gpu", "--num_processes", number, "--num_machines", "1", "--dynamo_backend", "no"]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, *module]


def run_training(
    command: Sequence[str],
    output: Path,
    max_tries: int,
    final_exit_codes: Collection[int],
    tell: Tell,
    away_s: float = AWAY_S,
) -> dict[str, Any]:
    """Run a training to its end, from its last checkpoint if it has been started before.

    Args:
        command: starts it; `--resume` is added where there is a checkpoint to go on from.
        output: its folder, where it leaves `result.json`.
        max_tries: how often it is started before it is given up.
        final_exit_codes: those after which another try would end the same.
        tell: told every line of its output.
        away_s: pause before the second try where a disk or a network was away; doubled before the third.

    Returns:
        What `result.json` says of a completed training.

    Raises:
        TrainingGaveUpError: it did not complete; one sentence with exit code, meaning and number of tries.
    """
    if (result := read_result(output)) and result["status"] == "completed":
        return result
    for num_tries in range(1, max_tries + 1):
        (output / RESULT).unlink(missing_ok=True)
        resume = ["--resume"] if checkpoints(output) else []
        with started([*command, *resume]) as process:
            for line in process.stdout or ():
                tell(line.rstrip())
            exit_code = process.wait()
        result = read_result(output) or {}
        if exit_code == 0 and result.get("status") == "completed":
            return result
        exit_code = result.get("exit_code") or exit_code  # a launcher ends with 1, whatever its processes ended with
        meaning = _meaning(exit_code, result)
        if exit_code in final_exit_codes:
            break
        tell(f"training ended with exit code {exit_code} in try {num_tries} of {max_tries}: {meaning}")
        if exit_code == ExitCode.DISK_OR_NETWORK and num_tries < max_tries:
            time.sleep(away_s * 2 ** (num_tries - 1))
    raise TrainingGaveUpError(
        f"training in {output} was given up after {num_tries} {'try' if num_tries == 1 else 'tries'} with exit code"
        f" {exit_code}: {meaning}"
    )


@contextmanager
def started(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive this one: not an error in here, and not the death of this process either."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # The current folder is the user's: a `model.py` in it must not be taken for ours, not by a launcher's children.
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"},
        preexec_fn=_die_with_parent,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout:
            process.stdout.close()


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """Linux sends SIGTERM when the parent is gone, so that no training is orphaned by a killed worker."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _meaning(exit_code: int, result: dict[str, Any]) -> str:
    if exit_code < 0:
        return f"it was killed by {signal.Signals(-exit_code).name}"
    if exit_code == 0:
        return f"it left no complete {RESULT}"
    return str(result.get("meaning") or "see its log for the cause")
