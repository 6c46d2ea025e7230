"""The loop of a training: reads, updates, logs, draws and saves."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from accelerate import Accelerator

from model.data.loader import Batch, train_loader
from model.model_folder import About
from model.network.weights import resolve_device
from model.training.checkpoint import Position, resume, save_checkpoint, warm_start
from model.training.exit_codes import meaning
from model.training.run_folder import (
    GRIDS,
    append_curve,
    cut_curves,
    forget_result,
    last_losses,
    result_of,
    sweep,
    write_result,
)
from model.training.stop import Stopped, StopSignals
from model.training.train_config import TrainConfig
from model.training.train_step import Pictures, Training, learning_rate
from storage.errors import ExitCode, InputError

GRID_ROWS = 4


def open_run(config: TrainConfig, snapshot: dict[str, str], fingerprint: str, stop: StopSignals) -> "Run":
    """Networks and optimizers on this process's device, where the newest checkpoint left them.

    Raises:
        ValueError: configuration, warm start or checkpoint cannot be used; one sentence.
        WeightsUnavailableError: base, encoder or LPIPS is missing.
    """
    training = Training(config, open_accelerator(config))
    if config.warm_start is not None:
        warm_start(config.warm_start, training)
    return Run(config, training, snapshot, fingerprint, resume(config.output, training, fingerprint), stop)


def open_accelerator(config: TrainConfig) -> Accelerator:
    """The devices of this run, and TensorBoard for its first process."""
    on_cpu = resolve_device(config.device) == "cpu"
    accelerator = Accelerator(cpu=on_cpu, log_with="tensorboard", project_dir=config.output)
    if config.batch_size % (accelerator.num_processes * config.accumulation):
        raise InputError(
            f"batch_size {config.batch_size} must be a multiple of {accelerator.num_processes} devices times "
            f"accumulation {config.accumulation}"
        )
    return accelerator


class Run:
    """The loop over updates: reads, logs, saves."""

    def __init__(
        self,
        config: TrainConfig,
        training: Training,
        snapshot: dict[str, str],
        fingerprint: str,
        position: Position,
        stop: StopSignals,
    ) -> None:
        """Go on from `position`."""
        self.stop = stop
        self.config, self.training, self.snapshot, self.fingerprint = config, training, snapshot, fingerprint
        self.accelerator = training.accelerator
        self.step, self.first_step, self.seconds_before = position.step, position.step, position.seconds
        self.started = time.monotonic()

    def work(self) -> None:
        """Update until the end; log, draw and save on the way.

        Raises:
            Stopped: a signal came; the update in work was finished and saved.
        """
        with self.stop.postponed():
            self._work()

    def _work(self) -> None:
        if self.accelerator.is_main_process:
            self._open_logs()
        batches = self._batches()
        logged_step, logged_at = self.step, time.monotonic()
        while self.step < self.config.steps:
            self._stop_if_asked()
            line, pictures = self._update(batches)
            if self._is_due(self.config.log_every):
                now = time.monotonic()
                line["images_per_s"] = (self.step - logged_step) * self.config.batch_size / (now - logged_at)
                logged_step, logged_at = self.step, now
                self._log(line)
            if self.accelerator.is_main_process and self._is_due(self.config.grid_every):
                self._draw(pictures)
            if self._is_due(self.config.checkpoint_every):
                self._save()
        self._finish()

    def _stop_if_asked(self) -> None:
        """Before an update: end, on every device alike, where a signal was heard on one of them."""
        heard = torch.tensor([self.stop.heard or 0], device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            heard = self.accelerator.gather(heard).max()
        if number := int(heard):
            if self.step > self.first_step:
                self._save()
            raise Stopped(number)

    def _update(self, batches: Iterator[Batch]) -> tuple[dict[str, float], Pictures]:
        parts = []
        for _ in range(self.config.accumulation):
            terms, pictures = self.training.accumulate(next(batches), self.step)
            parts.append(terms)
        norms = self.training.apply(self.step)
        line = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0] if name in parts[-1]}
        if self.training.num_skipped:
            line = {"num_skipped": self.training.num_skipped}
        line |= norms | {"learning_rate": learning_rate(self.config, self.step)}
        self.step += 1
        return line, pictures

    def _batches(self) -> Iterator[Batch]:
        config, accelerator = self.config, self.accelerator
        return iter(
            train_loader(
                config.snapshot,
                batch_size=config.batch_size // (accelerator.num_processes * config.accumulation),
                rank=accelerator.process_index,
                world_size=accelerator.num_processes,
                num_workers=config.num_workers,
                seed=config.seed,
                start_step=self.step * config.accumulation,
                side_px=config.side_px,
                degradation=config.degradation,
            )
        )

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _open_logs(self) -> None:
        number, device = self.accelerator.num_processes, self.accelerator.device.type
        print(f"{number} {'process' if number == 1 else 'processes'} on {device}, from step {self.step}", flush=True)
        self.config.output.mkdir(parents=True, exist_ok=True)
        sweep(self.config.output)
        forget_result(self.config.output)
        cut_curves(self.config.output, self.step)
        self.accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": self.step + 1}})

    def _log(self, line: dict[str, float]) -> None:
        """Means over all devices into curves, TensorBoard and onto the terminal."""
        names = sorted(line)
        values = torch.tensor([line[name] for name in names], device=self.accelerator.device)
        line = dict(zip(names, self.accelerator.reduce(values, reduction="mean").tolist(), strict=True))
        line["memory_gb"] = peak_memory_gb(self.accelerator.device)
        if self.accelerator.is_main_process:
            append_curve(self.config.output, {"step": self.step, **line})
            self.accelerator.log(line, step=self.step)
            figures = "  ".join(f"{name} {line[name]:.4g}" for name in line if name.startswith(("loss/", "images")))
            left_s = (self.config.steps - self.step) * self.config.batch_size / line["images_per_s"]
            print(f"step {self.step}/{self.config.steps}  {figures}  {in_words(left_s)} left", flush=True)

    def _draw(self, pictures: Pictures) -> None:
        grid = picture_grid(pictures)
        folder = self.config.output / GRIDS
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"step-{self.step:08d}.png"), cv2.cvtColor(grid, cv2.COLOR_RGB2BGR))
        tracker = self.accelerator.get_tracker("tensorboard")
        tracker.log_images({"lq | restored | hq": grid[None]}, step=self.step, dataformats="NHWC")

    def _save(self) -> Path:
        about = About(snapshot=self.snapshot, training=self.config.model_dump(mode="json"), step=self.step)
        folder = Path()
        if self.accelerator.is_main_process:
            folder = save_checkpoint(self.config.output, self.training, about, self._seconds(), self.fingerprint)
        self.accelerator.wait_for_everyone()
        return folder

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _finish(self) -> None:
        folder = self._save()
        if self.accelerator.is_main_process:
            done = (self.step - self.first_step) * self.config.batch_size
            result = result_of(ExitCode.SUCCESS, meaning(ExitCode.SUCCESS)) | {
                "model": folder.relative_to(self.config.output).as_posix(),
                "step": self.step,
                "seconds": round(self._seconds(), 3),
                "num_processes": self.accelerator.num_processes,
                "images_per_s": done / (time.monotonic() - self.started) if done else None,
                "losses": last_losses(self.config.output),
                "snapshot": self.snapshot,
                "fingerprint": self.fingerprint,
            }
            write_result(self.config.output, result)
            print(f"complete after {in_words(self._seconds())}: {folder}", flush=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()


def in_words(seconds: float) -> str:
    """A duration to two figures that matter: `41 s`, `5 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def picture_grid(pictures: Pictures) -> np.ndarray:
    """LQ | restored | HQ of the first few samples as (H, W, 3) uint8 RGB."""
    columns = [torch.cat(list(column[:GRID_ROWS].float().cpu()), dim=1) for column in pictures]
    grid = (torch.cat(columns, dim=2).clamp(-1, 1) + 1) * 127.5
    return grid.round().byte().permute(1, 2, 0).numpy()


def peak_memory_gb(device: torch.device) -> float:
    """Most memory so far, in 10^9 bytes: allocated on a GPU, resident of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
