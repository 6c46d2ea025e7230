"""Train OSDHuman: `python -m model.train CONFIG.yaml [--set key=value]... [--resume]`.

On several GPUs: `accelerate launch -m model.train CONFIG.yaml ...`. On a CPU, where accelerate starts one process only:
`torchrun --standalone --nproc_per_node N -m model.train CONFIG.yaml ...`. Ctrl-C and SIGTERM let the update in work
finish and leave a checkpoint. Exit codes: `model/training/exit_codes.py`; what is written where:
`model/training/run_folder.py`. torch is imported only once there is something to do.
"""

import argparse
import os
import sys
from pathlib import Path

from model.training.exit_codes import exit_code, meaning
from model.training.run_folder import ABOUT, checkpoints, has_begun, last_losses, read_result, result_of, write_result
from model.training.stop import Stopped, StopSignals
from model.training.train_config import TrainConfig
from storage.config_file import ConfigError, load_config
from storage.digest import sha256_of_file
from storage.errors import DiskOrNetworkError, ExitCode, InputError
from storage.snapshot import load_manifest
from storage.store import Store


class OutputTakenError(InputError):
    """The output folder holds another run, which is left alone."""


def main(arguments: list[str] | None = None) -> int:
    """Run one training; the exit code says how it ended."""
    parser = argparse.ArgumentParser(prog="python -m model.train", description="Train OSDHuman on a snapshot.")
    parser.add_argument("config", type=Path, help="YAML file, such as configs/osdhuman.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a value of the file")
    parser.add_argument("--resume", action="store_true", help="go on with the last checkpoint, if there is one")
    options = parser.parse_args(arguments)
    config, stop = None, StopSignals()
    try:
        with stop.listening():
            config = load_config(TrainConfig, options.config, options.set)
            train(config, options.resume, stop)
    except Stopped as stopped:
        return _tell_stopped(config, ExitCode(128 + stopped.number))
    except Exception as error:
        if stop.heard:  # such as another process of this run, which ended first
            return _tell_stopped(config, ExitCode(128 + stop.heard))
        code = exit_code(error)
        print(f"model.train: {error}", file=sys.stderr, flush=True)
        if config is not None and not isinstance(error, OutputTakenError) and _is_first_process():
            _write_failure(config, code, f"{meaning(code)} {error}")
        if code == ExitCode.BUG:
            raise
        return code
    return ExitCode.SUCCESS


def train(config: TrainConfig, go_on: bool, stop: StopSignals) -> None:
    """Train until `config.steps`, unless that was done before.

    Args:
        config: of the run.
        go_on: continue from the newest checkpoint; without it a folder with checkpoints is refused.
        stop: heard between two updates.

    Raises:
        Stopped: a signal came; what was done until then is in a checkpoint.
        DiskOrNetworkError: the snapshot is not there for the moment.
        ValueError: configuration, snapshot, warm start or output cannot be used; one sentence.
        WeightsUnavailableError: base, encoder or LPIPS is missing.
        NonFiniteLossError: a loss is not finite.
    """
    snapshot = _snapshot_of(config)
    fingerprint = config.fingerprint(snapshot["digest"], _warm_start_digest(config))
    if is_complete(config, fingerprint, go_on):
        print(f"{config.output} is complete", flush=True)
        return
    from model.training.train_loop import open_run

    open_run(config, snapshot, fingerprint, stop).work()


def is_complete(config: TrainConfig, fingerprint: str, go_on: bool) -> bool:
    """Whether this very run has ended well before, at the step that is asked for.

    Raises:
        OutputTakenError: the output folder holds another run, or an unfinished one that is not to be continued.
    """
    result = read_result(config.output)
    if result is not None and result["status"] == "completed":
        if result["fingerprint"] != fingerprint or not (config.output / result["model"] / ABOUT).is_file():
            raise OutputTakenError(f"{config.output} holds the result of another configuration: choose another output")
        if result["step"] == config.steps:
            return True
        if result["step"] > config.steps or not go_on:
            how = f"add --resume to extend it to {config.steps}" if result["step"] < config.steps else "raise steps"
            raise OutputTakenError(
                f"{config.output} holds a run that ended at step {result['step']}: {how}, or choose another output"
            )
    if checkpoints(config.output) and not go_on:
        raise OutputTakenError(f"{config.output} holds an unfinished run: add --resume, or choose another output")
    return False


def snapshot_facts(folder: Path) -> dict[str, str]:
    """Path, id and digest of a published snapshot.

    Raises:
        ValueError: it is none, or its manifest was changed.
    """
    return {"path": str(folder), "id": folder.name, "digest": load_manifest(Store(str(folder)), "").digest}


def _snapshot_of(config: TrainConfig) -> dict[str, str]:
    """The facts of the run's snapshot; what it was trained on before and is gone now, may come back."""
    try:
        return snapshot_facts(config.snapshot)
    except InputError as error:
        if config.snapshot.exists() or not has_begun(config.output):
            raise
        raise DiskOrNetworkError(f"{config.snapshot} is not there any more: make its disk available") from error


def _warm_start_digest(config: TrainConfig) -> str | None:
    if config.warm_start is None:
        return None
    about = config.warm_start / ABOUT
    if not about.is_file():
        raise ConfigError(f"warm_start is {config.warm_start}, which is no model folder: it has no {ABOUT}")
    return sha256_of_file(about)


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _tell_stopped(config: TrainConfig | None, code: ExitCode) -> ExitCode:
    """Say how to go on, once for all processes."""
    if _is_first_process():
        left = checkpoints(config.output) if config is not None else []
        how = f"after step {_step_of(left[-1])}; add --resume to go on" if left else "before the first update was done"
        print(f"model.train: stopped {how}", file=sys.stderr, flush=True)
        if config is not None:
            _write_failure(config, code, meaning(code))
    return code


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _write_failure(config: TrainConfig, code: ExitCode, why: str) -> None:
    """Say in result.json why the run ended, and which checkpoint it leaves; what ended well before stays so."""
    if (read_result(config.output) or {}).get("status") == "completed":
        return
    left = checkpoints(config.output)
    result = result_of(code, why) | {
        "model": left[-1].relative_to(config.output).as_posix() if left else None,
        "step": _step_of(left[-1]) if left else 0,
        "seconds": None,
        "num_processes": None,
        "images_per_s": None,
        "losses": last_losses(config.output),
        "snapshot": None,
        "fingerprint": None,
    }
    write_result(config.output, result)


if __name__ == "__main__":
    sys.exit(main())
