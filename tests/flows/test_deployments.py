"""Deployments on a real server: registering twice is registering once; and the circle, as an operator sees it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate

from benchmarks.circle import write_configs
from flows.automations import DEAD_AFTER_S
from flows.curate import curate
from flows.retrain import retrain
from tests.flows.prefect_run import ask
from tests.waiting import PATIENCE_S, wait_until

PROJECT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from retrain_world import publish  # noqa: E402 - tests are no package


def registered(environment):
    """Everything that a second registration might double or change."""
    flows = {flow["id"]: flow["name"] for flow in ask(environment, "flows/filter", {})}
    deployments = {f"{flows[d['flow_id']]}/{d['name']}": d for d in ask(environment, "deployments/filter", {})}
    pools = ask(environment, "work_pools/filter", {})
    limits = ask(environment, "v2/concurrency_limits/filter", {})
    automations = ask(environment, "automations/filter", {})
    return {
        "deployments": {
            name: (d["parameters"], d["entrypoint"], d["work_pool_name"], [s["schedule"] for s in d["schedules"]])
            for name, d in deployments.items()
        },
        "pools": sorted(pool["name"] for pool in pools),
        "gpu": [limit["limit"] for limit in limits if limit["name"] == "gpu"],
        "automations": sorted(automation["name"] for automation in automations),
        "forms": {name: d["parameter_openapi_schema"] for name, d in deployments.items()},
    }


def deploy(environment):
    command = [sys.executable, "-m", "flows.deploy"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def site(environment):
    return environment["PREFECT_API_URL"].removesuffix("/api")


def test_the_forms_take_what_configurations_say_and_propose_no_number_of_cores():
    """Prefect's server checks parameters by the schema of the form, before anything of ours sees them."""
    for name, flow in (("persona", curate), ("retrain", retrain)):
        schema = parameter_schema(flow).model_dump()
        given = yaml.safe_load((PROJECT / f"configs/{name}.yaml").read_text())
        assert validate({"config": given}, schema, raise_on_error=False) == []
    form = parameter_schema(curate).model_dump()["definitions"]
    assert "default" not in form["CurateConfig"]["properties"]["run"]
    assert "default" not in form["RunConfig"]["properties"]["workers"]


def test_registering_twice_is_registering_once_and_datasets_live_side_by_side(prefect_server, tmp_path):
    deploy(prefect_server)
    once = registered(prefect_server)
    ours = {f"{flow}/persona" for flow in ("curate", "train", "evaluate", "retrain", "review")}
    assert ours | {"close-children/server"} <= once["deployments"].keys()  # a schedule is tried on this server too
    assert once["deployments"]["retrain/persona"][3][0]["cron"] == "0 3 * * *"
    assert once["gpu"] == [1]
    assert "retrain on a new snapshot of persona" in once["automations"]
    assert "flow runs without heartbeat are crashed" in once["automations"]
    assert "at least this share of the newest snapshot" in json.dumps(once["forms"]["retrain/persona"])
    deploy(prefect_server)
    assert registered(prefect_server) == once

    for name in ("persona", "retrain"):
        text = (PROJECT / f"configs/{name}.yaml").read_text()
        (tmp_path / f"{name}.yaml").write_text(
            text.replace("data/persona", "data/street").replace(": persona", ": street")
        )
    said = deploy({**prefect_server, "PERSONA_CONFIGS": str(tmp_path)})
    both = registered(prefect_server)
    assert both["deployments"].keys() - once["deployments"].keys() == {
        name.replace("persona", "street") for name in ours
    }
    assert both["deployments"]["curate/street"][0]["config"]["root"] == "data/street"
    assert both["deployments"]["curate/persona"] == once["deployments"]["curate/persona"]
    assert both["gpu"] == [1] and "retrain on a new snapshot of street" in both["automations"]
    assert "make worker POOL=gpu" in said and "curate/street" in said and f"{site(prefect_server)}/deployments" in said


def test_photos_become_a_model_and_more_photos_are_compared_with_it(prefect_server, shared_data, tmp_path):
    """Deployments, workers, the snapshot's event, training, judgement: all real, only the model is tiny."""
    script = [sys.executable, "benchmarks/circle.py", tmp_path, "--photos", shared_data.resolve() / "coco_mini"]
    environment = {**prefect_server, "PYTHONPATH": str(PROJECT)}
    options = ["--steps", "4", "--only-models"]
    done = subprocess.run([*script, *options], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    stages = {stage["stage"]: stage for stage in map(json.loads, done.stdout.splitlines())}
    first, second, end = stages["model 1"], stages["model 2"], stages["end"]
    assert first["promoted"] and first["production"] == first["candidate"]
    assert second["candidate"] != first["candidate"]
    assert second["production"] == (second["candidate"] if second["promoted"] else first["production"])
    assert ("psnr on val improves" in second["reason"]) == second["promoted"]
    assert end["problems"] == [] and end["runs"] == {"train": 2, "retrain": 2}


@contextmanager
def worker(environment, folder, pool):
    """A worker of one pool, as `make worker` starts it; what it started dies with the test."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", f"{pool}-faults"]
    environment = {**environment, "PREFECT_WORKER_QUERY_SECONDS": "1", "PYTHONPATH": str(PROJECT)}
    with (folder / f"{pool}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def children_of(pid):
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def engines_of(flow_run):
    """Processes that carry out a flow run, without what they started themselves."""
    mark = f"PREFECT__FLOW_RUN_ID={flow_run}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes() and b"prefect.engine" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.fixture
def webhook():
    """An address that takes messages, and the list of what came."""
    told = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()


def test_the_living_outlive_the_zombie_automation_and_the_dead_are_told(prefect_server, shared_data, webhook, tmp_path):
    """A stage that lasts longer than the automation waits; and a retraining whose worker dies with it."""
    configs, root = write_configs(tmp_path, shared_data.resolve() / "coco_mini", 4)
    for name in ("persona", "retrain"):
        text = (configs / f"{name}.yaml").read_text()
        (configs / f"{name}.yaml").write_text(text.replace(": people", ": faults"))
    publish(root, 1, 10, name="faults")
    deploy({**prefect_server, "PERSONA_CONFIGS": str(configs), "PERSONA_ALERT_URL": webhook[0]})

    def start(deployment):
        flow, name = deployment.split("/")
        body = {"deployments": {"name": {"any_": [name]}}, "flows": {"name": {"any_": [flow]}}}
        (found,) = ask(prefect_server, "deployments/filter", body)
        return ask(prefect_server, f"deployments/{found['id']}/create_flow_run", {})["id"]

    def runs(**filters):
        return ask(prefect_server, "flow_runs/filter", {"flow_runs": filters})

    def state(flow_run):
        (found,) = runs(id={"any_": [flow_run]})
        return found["state_type"]

    def slots():
        limits = ask(prefect_server, "v2/concurrency_limits/filter", {})
        return [limit["active_slots"] for limit in limits if limit["name"] == "gpu"]

    with worker(prefect_server, tmp_path, "cpu"):
        with worker(prefect_server, tmp_path, "gpu") as dying:
            living, dead = start("curate/faults"), start("retrain/faults")
            wait_until(lambda: state(living) == "RUNNING" and children_of(engines_of(living)[0]), otherwise="no stage")
            begun = time.monotonic()
            frozen = children_of(engines_of(living)[0])
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: slots() == [1], otherwise="no training")
            dying.kill()
            for pid in engines_of(dead):
                os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        (train,) = runs(parent_flow_run_id={"any_": [dead]})
        wait_until(lambda: {state(dead), state(train["id"])} == {"CRASHED"}, otherwise="dead and not told", poll_s=1)
        told_s = time.monotonic() - killed
        wait_until(lambda: slots() == [0], otherwise="the slot did not come back", poll_s=1)
        slot_s = time.monotonic() - killed
        tasks = {"flow_runs": {"id": {"any_": [dead]}}}
        wait_until(
            lambda: {task["state_type"] for task in ask(prefect_server, "task_runs/filter", tasks)} == {"CRASHED"},
            otherwise="what it started is shown as running",
            poll_s=1,
        )
        crashed = "PersonaForge: prefect.flow-run.Crashed"
        wait_until(lambda: any(crashed in text for text in webhook[1]), otherwise="nobody was alerted", poll_s=1)
        print(webhook[1])
        wait_until(lambda: time.monotonic() - begun > DEAD_AFTER_S + 20, otherwise="", poll_s=1)
        assert state(living) == "RUNNING"
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: state(living) not in ("RUNNING", "PENDING"), otherwise="it does not end", poll_s=1)
        assert state(living) == "COMPLETED"
    print(f"told after {told_s:.0f} s, slot back after {slot_s:.0f} s, stage outlived {time.monotonic() - begun:.0f} s")
