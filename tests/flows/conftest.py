"""A real Prefect server for the tests of the flows, with a database of its own."""

import secrets
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from string import Template

import pytest

from flows.cli.__main__ import QUIET
from tests.flows.prefect_run import persona
from tests.waiting import PATIENCE_S, wait_until

PROJECT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def documented_settings(port):
    """What `make .env` and `make server` set: .env.example with passwords filled in, on another port."""
    values = {}
    for line in (PROJECT / ".env.example").read_text().splitlines():
        name, equals, value = line.partition("=")
        if name.endswith("_PASSWORD"):
            values[name] = secrets.token_hex(24)
        elif name == "PREFECT_SERVER_API_PORT":
            values[name] = str(port)
        elif equals and not name.startswith("#"):
            values[name] = Template(value).substitute(values)
    return values


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory, clean_environment):
    """Environment variables of a running server; every run that is started with them is kept there."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = {**clean_environment, **QUIET, **documented_settings(port), "PREFECT_HOME": str(home)}
    api = environment["PREFECT_API_URL"]
    log = (home / "server.log").open("w")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def answers():
        try:
            return urllib.request.urlopen(f"{api}/health", timeout=30)
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, (home / "server.log").read_text()

    wait_until(answers, otherwise=(home / "server.log").read_text)
    yield environment
    server.terminate()
    server.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def demo(prefect_server, tmp_path_factory):
    """Root of the demo, and the process that made it."""
    root = tmp_path_factory.mktemp("demo") / "root"
    return root, persona(prefect_server, "demo", root)
