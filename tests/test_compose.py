"""docker-compose.yml, read by the real Compose binary; its commands are those that the whole circle is tested with."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
COMPOSE = Path(sys.executable).with_name("docker-compose")
SECRETS = {"POSTGRES_PASSWORD": "aa11", "MONGO_PASSWORD": "bb22", "PHOTOS": "/srv/photos"}


def compose(tmp_path, values):
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    command = [
        COMPOSE,
        "--env-file",
        tmp_path / "env",
        "-f",
        PROJECT / "docker-compose.yml",
        "config",
        "--format",
        "json",
    ]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})


@pytest.fixture
def services(tmp_path):
    read = compose(tmp_path, SECRETS)
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout)["services"]


def test_there_is_no_default_password(tmp_path):
    example = dict(line.split("=") for line in (PROJECT / ".env.example").read_text().splitlines() if "=" in line)
    assert example == dict.fromkeys(SECRETS, "")
    for missing in SECRETS:
        refused = compose(tmp_path, {**SECRETS, missing: ""})
        assert refused.returncode != 0
        assert f"set {missing} in .env" in refused.stderr


def test_everything_is_bound_to_this_machine_pinned_and_watched(services):
    assert set(services) == {"postgres", "mongo", "server", "deploy", "worker-cpu", "worker-gpu", "fiftyone"}
    for name, service in services.items():
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name
        assert re.search(r":(\d+\.\d+|cpu|gpu)", service["image"]), name
        assert "healthcheck" in service or name == "deploy", name
    needed = services["server"]["depends_on"]["postgres"]["condition"], services["worker-gpu"]["depends_on"]["deploy"]
    assert needed[0] == "service_healthy" and needed[1]["condition"] == "service_completed_successfully"
    sources = {volume["source"] for service in services.values() for volume in service.get("volumes", ())}
    assert sources == {"postgres", "mongo", "data", "weights", "/srv/photos"}


def test_commands_and_variables_are_those_of_the_circle(services):
    circle = (PROJECT / "benchmarks/circle.py").read_text()
    for pool in ("cpu", "gpu"):
        worker = services[f"worker-{pool}"]
        words = ["python", "-m", "prefect", "worker", "start", "--pool", pool, "--name", f"{pool}-1"]
        assert worker["command"] == words
        assert worker["environment"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert '"-m", "prefect", "worker", "start", "--pool", pool, "--name", f"{pool}-1"' in circle
    assert '"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"' in circle
    assert services["deploy"]["command"] == ["python", "-m", "flows.deploy"]
    assert 'run("flows.deploy"' in circle


def test_images_run_as_nobody_special_from_a_pinned_python():
    stages = re.split(r"^FROM ", (PROJECT / "Dockerfile").read_text(), flags=re.M)[1:]
    assert re.match(r"python:3\.11\.\d+-slim-bookworm AS base", stages[0])
    for stage, name in zip(stages[1:], ("cpu", "gpu"), strict=True):
        assert stage.startswith(f"base AS {name}")
        assert stage.rstrip().endswith("USER persona")
        assert "-c requirements.txt" in stage
