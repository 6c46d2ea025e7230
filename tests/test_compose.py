"""docker-compose.yml, read by the real Compose binary; its commands are those that the whole circle is tested with."""

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
COMPOSE = Path(sys.executable).with_name("docker-compose")
SECRETS = {
    "PREFECT_PASSWORD": "cc33",
    "POSTGRES_PASSWORD": "aa11",
    "MONGO_PASSWORD": "bb22",
    "APP_PASSWORD": "dd44",
    "PHOTOS": "/srv/photos",
}


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


def settings(text):
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z_]+=", line))


def test_there_is_no_default_password(tmp_path):
    example = settings((PROJECT / ".env.example").read_text())
    assert {name for name, value in example.items() if not value} == SECRETS.keys()
    for missing in SECRETS:
        refused = compose(tmp_path, {**SECRETS, missing: ""})
        assert refused.returncode != 0
        assert f"set {missing} in .env" in refused.stderr


def test_passwords_are_made_for_each_machine_and_read_by_its_owner_only(tmp_path):
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file in ("Makefile", ".env.example"):
            shutil.copy(PROJECT / file, tmp_path / name)
        subprocess.run(["make", "-s", ".env"], cwd=tmp_path / name, check=True)
        assert stat.S_IMODE((tmp_path / name / ".env").stat().st_mode) == 0o600
        made.append(settings((tmp_path / name / ".env").read_text()))
    passwords = [value for values in made for key, value in values.items() if key.endswith("_PASSWORD")]
    assert len(set(passwords)) == 8 and all(re.fullmatch(r"[0-9a-f]{48}", password) for password in passwords)
    assert subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=PROJECT).returncode == 0


def test_everything_is_bound_to_this_machine_pinned_and_watched(services):
    assert set(services) == {"postgres", "mongo", "server", "deploy", "worker-cpu", "worker-gpu", "fiftyone"}
    for name, service in services.items():
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name
        assert re.search(r":(\d+\.\d+|cpu|gpu)", service["image"]), name
        assert "healthcheck" in service or name == "deploy", name
    needed = services["server"]["depends_on"]["postgres"]["condition"], services["worker-gpu"]["depends_on"]["deploy"]
    assert needed[0] == "service_healthy" and needed[1]["condition"] == "service_completed_successfully"
    sources = {volume["source"] for service in services.values() for volume in service.get("volumes", ())}
    assert sources == {"postgres", "prefect", "mongo", "data", "weights", "/srv/photos"}


def test_the_server_wants_its_password_from_everybody_and_no_other_page_may_call_it(services):
    server = services["server"]["environment"]
    assert server["PREFECT_SERVER_API_AUTH_STRING"] == "persona:cc33"
    assert server["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4200"
    for name in ("deploy", "worker-cpu", "worker-gpu"):
        assert services[name]["environment"]["PREFECT_API_AUTH_STRING"] == "persona:cc33"


def test_what_is_ours_can_write_to_its_volumes_only_and_gains_no_rights(services):
    for name in services.keys() - {"postgres", "mongo"}:
        assert services[name]["read_only"] and services[name]["cap_drop"] == ["ALL"], name
    assert all(service["security_opt"] == ["no-new-privileges:true"] for service in services.values())


def test_commands_and_variables_are_those_of_the_circle(services):
    circle = (PROJECT / "benchmarks/circle.py").read_text()
    for pool in ("cpu", "gpu"):
        worker = services[f"worker-{pool}"]
        words = ["python", "-m", "prefect", "worker", "start", "--pool", pool, "--name", f"{pool}-1"]
        assert worker["command"] == words
    assert '"-m", "prefect", "worker", "start", "--pool", pool, "--name", f"{pool}-1"' in circle
    assert services["deploy"]["command"] == ["python", "-m", "flows.deploy"]
    assert 'run("flows.deploy"' in circle


def test_images_run_as_nobody_special_from_a_pinned_python():
    stages = re.split(r"^FROM ", (PROJECT / "Dockerfile").read_text(), flags=re.M)[1:]
    assert re.match(r"python:3\.11\.\d+-slim-bookworm AS base", stages[0])
    for stage, name in zip(stages[1:], ("cpu", "gpu"), strict=True):
        assert stage.startswith(f"base AS {name}")
        assert stage.rstrip().endswith("USER persona")
        assert "-c requirements.txt" in stage
