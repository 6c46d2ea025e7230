"""Register everything on a Prefect server: work pools, deployments, limits, automations; twice is the same as once.

PREFECT_API_URL=http://127.0.0.1:4200/api python -m flows.deploy
"""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound, PrefectException
from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from flows.retraining import RetrainConfig
from flows.train import GPU
from storage.config_file import ConfigError, load_config

PROJECT = Path(__file__).parent.parent

POOLS = {
    "cpu": "curate, review",
    "gpu": "train, evaluate, retrain",
}

ZOMBIES = "flow runs without heartbeat are crashed"
HEARTBEAT = "prefect.flow-run.heartbeat"
HEARTBEAT_S = 30
"""How often workers' flow runs must be told to beat: PREFECT_FLOWS_HEARTBEAT_FREQUENCY."""


class Site(BaseSettings):
    """Facts of the machine that the deployments run on, from the environment."""

    model_config = SettingsConfigDict(env_prefix="PERSONA_", use_attribute_docstrings=True)

    home: Path = PROJECT
    """Where workers find the project; flows are started there."""
    configs: Path = Path("configs")
    """Folder of the deployments' configurations, as seen from `home`: persona.yaml, retrain.yaml."""
    gpus: PositiveInt = Field(default=1)
    """How many trainings run at a time, with one GPU each."""


def main() -> int:
    """Register everything; the exit code is 0 or, after one sentence, 2."""
    site = Site()
    try:
        with get_client(sync_client=True) as client:
            for name, runs in POOLS.items():
                _make_pool(client, name, runs)
            client.upsert_global_concurrency_limit_by_name(GPU, site.gpus)
            _deploy(site)
            _put_automation(client, zombie_automation())
    except (httpx.HTTPError, PrefectException, RuntimeError, ConfigError) as error:
        print(f"deploy: {error}; is PREFECT_API_URL the address of a running server?", file=sys.stderr)
        return 2
    print(f"Registered: {', '.join(POOLS)} work pools, the deployments of prefect.yaml, limit {GPU}, zombie detection.")
    return 0


def _make_pool(client: SyncPrefectClient, name: str, runs: str) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", description=runs))


def _deploy(site: Site) -> None:
    """Let Prefect read prefect.yaml; its own command does more than its client offers."""
    command = [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = {
        **os.environ,
        "PERSONA_HOME": str(site.home.absolute()),
        "PERSONA_CONFIGS": str(site.configs),
        "PYTHONPATH": str(PROJECT),
    }
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("\n".join([*done.stdout.splitlines()[-20:], *done.stderr.splitlines()[-20:]]))


def zombie_automation() -> AutomationCore:
    """A flow run whose process died with its worker sends no heartbeats; after three missed ones it is crashed.

    Without this it would stay Running for ever, and with it its limits.
    """
    return AutomationCore(
        name=ZOMBIES,
        description="A run whose process is gone with its worker would stay Running for ever.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, "prefect.flow-run.Completed", "prefect.flow-run.Failed"}
            | {"prefect.flow-run.Cancelled", "prefect.flow-run.Crashed"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=3 * HEARTBEAT_S),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                message=f"no heartbeat for {3 * HEARTBEAT_S} s: its worker died",
                force=False,
            )
        ],
    )


def _put_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """By name: creating it again would give a second one."""
    known = client.read_automations_by_name(automation.name)
    if known:
        client.update_automation(known[0].id, automation)
    else:
        client.create_automation(automation)
    for superfluous in known[1:]:
        client.delete_automation(superfluous.id)


def configured(folder: str) -> dict[str, Any]:
    """Parameters of the deployments, for prefect.yaml; a step of `prefect deploy`.

    Photos need not be on the machine that registers, so the sources of `curate` are not looked for here.

    Raises:
        ConfigError: a configuration is missing or wrong; one sentence.
    """
    curate = yaml.safe_load((Path(folder) / "persona.yaml").read_text(encoding="utf-8"))
    retrain = load_config(RetrainConfig, Path(folder) / "retrain.yaml")
    job = retrain.train
    evaluate = {
        "root": job.root,
        "dataset": job.dataset,
        "model": f"{job.model}@candidate",
        "against": f"{job.model}@production",
        "val": _given(retrain).get("val", {}),
        "evaluate": _given(retrain).get("evaluate", {}),
    }
    return {
        "curate": curate,
        "train": _given(job),
        "evaluate": evaluate,
        "retrain": _given(retrain),
        "dataset": job.dataset,
        "root": job.root,
    }


def _given(config: RetrainConfig | Any) -> dict[str, Any]:  # noqa: ANN401
    """What the file says and no more, so that the form shows where the defaults are in force."""
    dump: dict[str, Any] = config.model_dump(mode="json", exclude_unset=True)
    return dump


if __name__ == "__main__":
    sys.exit(main())
