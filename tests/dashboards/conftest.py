"""A dataset with every kind of verdict, and a real MongoDB of the tests' own."""

import os
import socket
import subprocess
import sys

import pytest

from flows.config import CurateConfig
from flows.pipeline import curate_with
from tests.counting_runner import CountingRunner
from tests.waiting import PATIENCE_S


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def curated(root, photos):
    """Curate the validation photos of COCO-mini below `root`; returns the snapshot."""
    coco = {
        "format": "coco",
        "name": "coco-val",
        "photos": photos / "coco_mini/val2017",
        "annotations": photos / "coco_mini/annotations/instances_val2017.json",
    }
    config = CurateConfig(
        name="mini",
        root=str(root),
        run={"workers": 1},
        sources=[coco],
        crop={"min_side_px": 200, "max_upscale": 2.6},
        score={"metrics": ["piqe"]},
        select={"top_share": 0.6, "limits": {"piqe": 65}, "val_size": 2},
    )

    return curate_with(CountingRunner(config), config).snapshot


@pytest.fixture(scope="session")
def mongodb(shared_tools, tmp_path_factory, clean_environment):
    """Environment variables with which FiftyOne finds a MongoDB that nobody else uses."""
    script, port, folder = shared_tools / "mongod.sh", str(free_port()), str(tmp_path_factory.mktemp("mongod"))
    started = subprocess.run([script, "start", port, folder], capture_output=True, text=True, env=clean_environment)
    if started.returncode:
        message = f"no MongoDB can be had: {started.stderr.strip()}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    yield {
        **clean_environment,
        "FIFTYONE_DATABASE_URI": f"mongodb://127.0.0.1:{port}",
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }
    subprocess.run([script, "stop", port, folder], capture_output=True, check=True)


def persona(environment, *arguments):
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def browsed(mongodb, shared_data, tmp_path_factory):
    """A curated root that the App shows, and the environment of its database: nobody else's, so tests may review it."""
    root = tmp_path_factory.mktemp("browse") / "root"
    environment = {**mongodb, "FIFTYONE_DATABASE_NAME": root.parent.name}
    curated(root, shared_data)
    built = persona(environment, "browse", root, "--no-app")
    assert built.returncode == 0, built.stderr
    return root, environment
