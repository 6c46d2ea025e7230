"""The flow `train`: a snapshot becomes a version of a model, in a process of its own that Prefect listens to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.artifacts import table_artifact
from flows.execution.root_lock import folder_lock
from flows.execution.run_log import run_log
from flows.server import concurrency, flow, get_run_logger
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.training.new_data import newest_snapshot
from tasks.training.train import TrainJob, plan_training, train_version

GPU = "gpu"
"""Prefect's global concurrency limit: as many slots as the machine has GPUs."""
LEASE_S = 60
"""How long a killed training keeps its slots, at most; the living renew theirs. Prefect allows no less."""


def _run_name() -> str:
    from prefect.runtime import flow_run

    job = TrainJob.model_validate(flow_run.parameters["job"])  # a dictionary where a deployment started it
    return f"train {job.model} on {flow_run.parameters.get('snapshot') or job.dataset}"


@flow(name="train", flow_run_name=_run_name)
def train(job: TrainJob, snapshot: str | None = None) -> str:
    """A snapshot in, a registered version of a model out; what is registered already is not trained again.

    Args:
        job: what is trained, and how.
        snapshot: id of the snapshot; empty = the newest of the dataset.
    """
    store = Store(job.root)
    plan = plan_training(job, Snapshot(store, snapshot) if snapshot else newest_snapshot(store, job.dataset))
    logger = get_run_logger()
    if plan.is_registered():
        logger.info("%s is registered already: nothing to train", plan.version)
        return plan.version
    with folder_lock(plan.output), run_log(store, f"train-{job.model}"), _gpu_slots(job.launch.gpu_slots):
        version = train_version(plan, logger.info)
    table_artifact(f"model-{job.model}", _rows(version), f"{job.model}/{plan.version}, trained on {plan.snapshot.id}")
    return plan.version


@contextmanager
def _gpu_slots(num: int) -> Iterator[None]:
    """Wait for GPUs and hold them; a server without that limit lets everybody in, and says so in the log."""
    if num == 0:
        yield
    else:
        with concurrency(GPU, occupy=num, lease_duration=LEASE_S):
            yield


def _rows(version: dict[str, Any]) -> list[dict[str, object]]:
    shown = ("version", "parent", "step", "code_version", "registered")
    return [{"what": key, "value": version[key]} for key in shown]
