"""Real networks for the tests of detect and score, fetched once into a cache of the tests' own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import WEIGHTS_CACHE


def _run(script: Path, folder: Path) -> str:
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def weights_cache() -> Path:
    return WEIGHTS_CACHE


@pytest.fixture(scope="session")
def metric_weights(shared_tools, weights_cache):
    """The TORCH_HOME of the tests, with real weights in it."""
    _run(shared_tools / "seed_weights.py", weights_cache)
    return weights_cache


@pytest.fixture(scope="session")
def detector_weights(shared_tools, weights_cache) -> str:
    return _run(shared_tools / "person_detector.py", weights_cache)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """No download succeeds: nothing listens at the proxy; and no cache of earlier downloads is seen.

    Returns the seconds that somebody wanted to sleep before another try; nobody does.
    """
    sleeps = []
    monkeypatch.setattr("time.sleep", sleeps.append)
    # urlopen keeps the first opener that it makes, proxies included, for the rest of the process.
    monkeypatch.setattr("urllib.request._opener", None)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return sleeps


class RunsCode:
    """Unpickling one of these would create the file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


@pytest.fixture
def runs_code():
    return RunsCode
