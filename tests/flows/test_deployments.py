"""Deployments on a real server: registering twice is registering once; and the circle, as an operator sees it."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.waiting import PATIENCE_S

PROJECT = Path(__file__).parent.parent.parent


def ask(environment, path, body):
    request = urllib.request.Request(
        f"{environment['PREFECT_API_URL']}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request, timeout=PATIENCE_S))


def registered(environment):
    """Everything that a second registration might double or change."""
    deployments = {d["name"]: d for d in ask(environment, "deployments/filter", {})}
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


def test_registering_twice_is_registering_once(prefect_server):
    deploy(prefect_server)
    once = registered(prefect_server)
    assert {"curate", "train", "evaluate", "retrain", "review"} <= once["deployments"].keys()
    assert once["deployments"]["retrain"][3][0]["cron"] == "0 3 * * *"
    assert once["gpu"] == [1]
    assert "retrain on a new snapshot" in once["automations"]
    assert "flow runs without heartbeat are crashed" in once["automations"]
    assert "at least this share of the newest snapshot" in json.dumps(once["forms"]["retrain"])  # a form that explains
    deploy(prefect_server)
    assert registered(prefect_server) == once


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
