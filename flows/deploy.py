"""Register everything on a Prefect server: work pools, deployments, limits, automations; twice is the same as once.

python -m flows.deploy                        # the dataset of configs/
PERSONA_CONFIGS=others python -m flows.deploy # another dataset on the same server
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect import get_client
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectException
from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from flows.automations import alert_automation, revival_automation, zombie_automation
from flows.retraining import RetrainConfig
from flows.server import HEARTBEAT_S, check_server, server_address
from flows.train import GPU
from storage.config_file import load_config
from storage.errors import InputError, PersonaError

PROJECT = Path(__file__).parent.parent

POOLS = {
    "cpu": "curate, review",
    "gpu": "train, evaluate, retrain",
}

LINE = 500
"""Characters shown of a line that Prefect prints: a refusal holds the whole schema."""

ALERT_BLOCK = "persona-alerts"

RUN_ENVIRONMENT = "persona_run_environment"
"""The Prefect variable with what every flow run of a worker finds in its environment."""

_FROM_VARIABLE = f"prefect.variables.{RUN_ENVIRONMENT}"
PROCESS_TEMPLATE: dict[str, Any] = {
    "variables": {
        "type": "object",
        # Every placeholder has to be listed; this one is filled in by the worker, and nothing else fits.
        "properties": {_FROM_VARIABLE: {"type": "null", "title": "Set by `make deploy`"}},
        "additionalProperties": False,
    },
    "job_configuration": {"env": f"{{{{ {_FROM_VARIABLE} }}}}", "stream_output": True},
}
"""A work pool whose runs choose nothing of how they are started: Prefect's own template lets every run name its
command and its environment. The environment stands in a variable and not in here, since Prefect lays what a run asks
for over an environment that is written into a template."""


class Site(BaseSettings):
    """Facts of the machine that the deployments run on, from the environment."""

    model_config = SettingsConfigDict(env_prefix="PERSONA_", use_attribute_docstrings=True)

    home: Path = PROJECT
    """Where workers find the project; flows are started there."""
    configs: Path = PROJECT / "configs"
    """Folder of a dataset's configurations on this machine: persona.yaml, retrain.yaml."""
    gpus: PositiveInt = Field(default=1)
    """GPUs of the machine: how many runs of the pool `gpu` there are at a time, and slots that trainings share."""
    alert_url: str | None = None
    """Webhook that is told of what went wrong."""


def main() -> int:
    """Register everything; the exit code is 0 or, after one sentence, what the kind of error means."""
    site = Site()
    try:
        if server_address() is None:
            raise InputError("name the server in PREFECT_API_URL, such as http://127.0.0.1:4200/api")
        check_server()
        dataset = configured(str(site.configs))["dataset"]
        with get_client(sync_client=True) as client:
            _set_variable(client, RUN_ENVIRONMENT, {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)})
            for name, runs in POOLS.items():
                _put_pool(client, name, runs)
            client.upsert_global_concurrency_limit_by_name(GPU, site.gpus)
            client.update_work_pool("gpu", WorkPoolUpdate(concurrency_limit=site.gpus))
            _deploy(site, dataset)
            for pool, queue in (("cpu", f"curate-{dataset}"), ("gpu", f"retrain-{dataset}")):
                _limit_queue(client, pool, queue, 1)
            _put_automation(client, zombie_automation())
            _put_automation(client, revival_automation())
            _put_alerts(client, site.alert_url)
    except (httpx.HTTPError, PrefectException, RuntimeError, PersonaError) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, PersonaError) else 2
    print(_next_steps(dataset))
    return 0


def _next_steps(dataset: str) -> str:
    """What was registered, and what to type now."""
    site = str(server_address()).removesuffix("/api")
    return f"""Registered for {dataset}: deployments, the work pools {" and ".join(POOLS)}, limit {GPU}, automations.
Next, a worker for each pool, where the photos and the GPU are:
    make worker POOL=cpu
    make worker POOL=gpu
then a run, on its page or by hand:
    {site}/deployments
    make run DEPLOYMENT=curate/{dataset}"""


def _put_pool(client: SyncPrefectClient, name: str, runs: str) -> None:
    """A pool that is there keeps its type, as for Kubernetes, and everything that people changed in such a template."""
    try:
        if client.read_work_pool(name).type == "process":
            client.update_work_pool(name, WorkPoolUpdate(base_job_template=PROCESS_TEMPLATE))
    except ObjectNotFound:
        pool = WorkPoolCreate(name=name, type="process", description=runs, base_job_template=PROCESS_TEMPLATE)
        client.create_work_pool(pool)


def _limit_queue(client: SyncPrefectClient, pool: str, name: str, num_runs: int) -> None:
    """The server counts runs by their states: nothing is held that a killed run or an absent server could lose."""
    queue = client.read_work_queue_by_name(name, work_pool_name=pool)
    client.update_work_queue(queue.id, concurrency_limit=num_runs)


def _set_variable(client: SyncPrefectClient, name: str, value: dict[str, str]) -> None:
    if client.read_variable_by_name(name):
        client.update_variable(VariableUpdate(name=name, value=value))
    else:
        client.create_variable(VariableCreate(name=name, value=value))


def _deploy(site: Site, dataset: str) -> None:
    """Let Prefect read prefect.yaml; its own command does more than its client offers."""
    command = [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = {
        **os.environ,
        "PERSONA_HOME": str(site.home.absolute()),
        "PERSONA_CONFIGS": str(site.configs.absolute()),
        "PERSONA_DATASET": dataset,
        "PYTHONPATH": str(PROJECT),
    }
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = [*done.stdout.splitlines()[-20:], *done.stderr.splitlines()[-20:]]
        raise RuntimeError("\n".join(line[:LINE] for line in said))


def _put_alerts(client: SyncPrefectClient, url: str | None) -> None:
    """Alerts go where the notification block of that name sends them; of any kind, if people made one by hand."""
    if url:
        told = {"text": "{{subject}}\n{{body}}"}
        block = CustomWebhookNotificationBlock(name=ALERT_BLOCK, url=url, json_data=told, headers=None, cookies=None)
        block.save(ALERT_BLOCK, overwrite=True)
    for document in client.read_block_documents():
        if document.name == ALERT_BLOCK:
            _put_automation(client, alert_automation(document.id))


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
