"""A snapshot becomes a version of a model: named before the training starts, registered when it has ended."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, FilePath

from model.training.exit_codes import FINAL
from model.training.run_folder import CURVES
from model.training.train_config import TrainConfig
from storage.aliases import PRODUCTION
from storage.config_file import load_config
from storage.digest import canonical_json
from storage.frozen import Frozen
from storage.registry import Registry, version_id
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.training.process import LaunchConfig, Tell, run_training, training_command

FOLDER = "training"
CONFIG_FILE = "config.yaml"


class TrainJob(Frozen):
    """Which model is trained, on which dataset, and how."""

    root: str
    """Where everything is kept; a local folder, since training reads and writes files."""
    dataset: str
    """Name of the dataset: the first part of its snapshots' names."""
    model: str = Field(default="osdhuman", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Name of the model in the registry."""
    training: FilePath
    """Configuration of the training process, such as configs/osdhuman.yaml; name, output, snapshot and warm_start are
    filled in."""
    assignments: tuple[str, ...] = ()
    """Single keys of it as `key=value`, such as `learning_rate=1e-5`."""
    warm_start: bool = True
    """Start from the weights in production, where there are any; else from the base model."""
    launch: LaunchConfig = LaunchConfig()


@dataclass(frozen=True)
class TrainingPlan:
    """One training, before it is started."""

    job: TrainJob
    snapshot: Snapshot
    version: str

    @property
    def registry(self) -> Registry:
        """Where the version will be kept."""
        return Registry(Store(self.job.root))

    @property
    def output(self) -> Path:
        """Where the training process works; what is registered later is copied from here."""
        return Store(self.job.root).local(f"{FOLDER}/{self.job.model}/{self.version}")

    @property
    def config_file(self) -> Path:
        """Written when the training is started; from the first time on it fixes where the training began."""
        return self.output / CONFIG_FILE

    def is_started(self) -> bool:
        """A process was started for it, and may have been killed."""
        return self.config_file.exists()

    def is_registered(self) -> bool:
        """It was trained to its end."""
        return self.registry.has(self.job.model, self.version)


def plan_training(job: TrainJob, snapshot: Snapshot) -> TrainingPlan:
    """The version that this job makes of a snapshot: the same for the same configuration and the same data.

    What is in production when it starts does not count, so that the same is never trained twice.

    Raises:
        ConfigError: the training's configuration cannot be used.
    """
    decides = {**_load(job, snapshot, "unset").content(), "warm_start": job.warm_start}
    return TrainingPlan(job, snapshot, version_id(decides, snapshot.manifest().digest))


def train_version(plan: TrainingPlan, tell: Tell) -> dict[str, Any]:
    """Train and register a planned version; returns what the registry says of it, at once if it is there.

    Raises:
        TrainingGaveUpError: the process ended without a model.
        ValueError: the model in production, from which it starts, was changed.
    """
    job, registry = plan.job, plan.registry
    if not plan.is_registered():
        parent = _write_config(plan)
        command = training_command(plan.config_file, job.launch)
        result = run_training(command, plan.output, job.launch.max_tries, FINAL, tell)
        registry.register(
            job.model, plan.version, plan.output / result["model"], parent=parent, curves=plan.output / CURVES
        )
    return registry.version(job.model, plan.version)


def _write_config(plan: TrainingPlan) -> str | None:
    """The configuration with which the process starts or goes on; returns the version that it began from.

    The version fixes what decides the weights, but not how the work is done: `accumulation` may be raised in between.
    """
    job, registry = plan.job, plan.registry
    warm_start = None
    if plan.is_started():
        warm_start = yaml.safe_load(plan.config_file.read_text(encoding="utf-8"))["warm_start"]
    elif job.warm_start and (production := registry.alias(job.model, PRODUCTION)):
        warm_start = str(registry.resolve(f"{job.model}/{production}"))
    start = [f"warm_start={_quoted(warm_start)}"] if warm_start else []
    config = _load(job, plan.snapshot, str(plan.output), *start, f"name={plan.version}")
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    Store(str(plan.output)).write_text(CONFIG_FILE, text)
    return Path(warm_start).name if warm_start else None


def _load(job: TrainJob, snapshot: Snapshot, output: str, *assignments: str) -> TrainConfig:
    folder = snapshot.store.local(snapshot.path)
    ours = [f"name={job.model}", f"output={_quoted(output)}", f"snapshot={_quoted(folder)}", "warm_start=null"]
    return load_config(TrainConfig, job.training, [*job.assignments, *ours, *assignments])


def _quoted(value: object) -> str:
    """As YAML reads it back, whatever characters a path holds."""
    return canonical_json(str(value))
