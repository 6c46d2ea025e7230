"""Without a server's address a run needs none: no proxy, no home and no second process comes into it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flows.prefect_run import persona

PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def alone(clean_environment):
    """A company's machine, or a container: a proxy that swallows everything, a home that nobody can write."""
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    return {**clean_environment, **proxy, "HOME": "/proc/nowhere", "PYTHONPATH": str(PROJECT)}


def start(environment, root):
    command = [sys.executable, "-m", "flows.cli", "demo", str(root)]
    # A session of its own, so that everything that it starts can be found, and Ctrl-C reaches all as in a terminal.
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def processes_of(session):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize(("stop", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_stopped_it_ends_at_once_with_a_sentence_and_leaves_no_process(alone, tmp_path, stop, exit_code):
    run = start(alone, tmp_path / "root")
    deadline = time.monotonic() + 240
    while len(processes_of(run.pid)) < 3:  # the run, a worker, and multiprocessing's tracker
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    if stop == signal.SIGINT:
        os.killpg(run.pid, stop)
    else:
        os.kill(run.pid, stop)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == exit_code
    last = [line for line in said.splitlines() if line.strip()][-1:]
    assert stop == signal.SIGKILL or last == ["persona: stopped; run the same command again to go on"]
    assert stop == signal.SIGKILL or "Traceback" not in said
    while processes_of(run.pid):
        assert time.monotonic() < deadline, "a process outlived its run"
        time.sleep(0.05)


def test_a_run_needs_no_server_and_imports_nothing_of_it(alone, tmp_path):
    run = persona(alone, "demo", tmp_path / "root")
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "root/snapshots").iterdir())) == 1 and "Contact sheet:" in run.stdout
    modules = (
        "import sys, flows.curate, flows.train, flows.retrain, flows.curate_artifacts; print('prefect' in sys.modules)"
    )
    known = subprocess.run([sys.executable, "-c", modules], env=alone, capture_output=True, text=True, timeout=120)
    assert known.stdout == "False\n"


def test_a_server_that_is_away_or_none_at_all_is_one_sentence_at_once(alone, prefect_server, tmp_path):
    site = prefect_server["PREFECT_API_URL"].removesuffix("/api")
    for address, exit_code, words in (
        ("http://127.0.0.1:9/api", 7, "no Prefect server answers at"),
        (site, 2, "does PREFECT_API_URL end with /api?"),
        (f"{site}/api", 2, "wants its password: set PREFECT_API_AUTH_STRING"),
    ):
        begin = time.process_time()
        run = persona({**alone, "PREFECT_API_URL": address}, "demo", tmp_path / "root")
        assert (run.returncode, run.stderr.count("\n")) == (exit_code, 1)
        assert words in run.stderr
        assert time.process_time() - begin < 10
