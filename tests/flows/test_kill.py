"""Killed at any moment, main process or worker, and run again: the same bytes as a run that nobody disturbed."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from flows.execution.root_lock import LOCK
from tests.waiting import wait_until

PROJECT = Path(__file__).parent.parent.parent
NUM_KILLS = 10

# The pipeline as the flow runs it, worker processes and all, without the seconds that Prefect's server takes.
RUN = """
import sys
from pathlib import Path
from flows.config import CurateConfig
from flows.pipeline import curate_with
from flows.execution.root_lock import root_lock
from tests.counting_runner import CountingRunner
from storage.config_file import load_config
from storage.store import Store

def main():
    config = load_config(CurateConfig, Path(sys.argv[1]), [f"root={sys.argv[2]}"])
    with root_lock(Store(config.root)):
        curate_with(CountingRunner(config), config)

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, shared_data):
    coco = shared_data.resolve() / "coco_mini"
    sources = [
        {
            "format": "coco",
            "name": split,
            "photos": str(coco / f"{split}2017"),
            "annotations": str(coco / f"annotations/instances_{split}2017.json"),
        }
        for split in ("train", "val")
    ]
    config = {
        "name": "killed",
        "root": "unset",
        "run": {"workers": 2, "photos_per_shard": 8},
        "sources": sources,
        "crop": {"min_side_px": 200, "max_upscale": 3.0, "min_laplacian_variance": 50},
        "score": {"metrics": ["piqe"]},
        "select": {"top_share": 0.5, "val_size": 5},
        "publish": {"rows_per_shard": 8},
    }
    path = tmp_path_factory.mktemp("kill") / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    (path.parent / "run.py").write_text(RUN)
    return path


def start(config_file, root):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        [sys.executable, str(config_file.parent / "run.py"), str(config_file), str(root)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def children_of(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def files_in(root):
    """What lies there, while a run may be adding and sweeping: pathlib's walk would stumble over a folder that goes."""
    walk = os.walk(root, onerror=lambda error: None)
    return [Path(folder, name) for folder, _, names in walk for name in names if name != LOCK]


def content(root):
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files_in(root)}


def gone(pid):
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]
    except OSError:
        return True


def all_gone(pids):
    return all(gone(pid) for pid in pids)


def test_killed_at_random_moments_it_ends_with_the_same_bytes(config_file, tmp_path):
    undisturbed = start(config_file, tmp_path / "undisturbed")
    assert undisturbed.wait() == 0, undisturbed.stderr.read()
    expected = content(tmp_path / "undisturbed")
    assert any("/manifest.json" in name for name in expected)

    # A moment is a number of finished files and a few milliseconds: so the kills spread over the work.
    dice = random.Random(2025)
    moments = sorted(dice.sample(range(len(expected) - 1), NUM_KILLS))
    root = tmp_path / "killed"
    root.mkdir()
    num_killed = 0
    for kill, moment in enumerate(moments):
        process = start(config_file, root)
        while process.poll() is None:
            if (
                len(files_in(root)) >= moment and len(children_of(process.pid)) >= 2
            ):  # a worker, and its resource tracker
                break
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.05))
        children = children_of(process.pid)
        with contextlib.suppress(ProcessLookupError):  # the last files come at once: it may have ended meanwhile
            os.kill(children[-1] if kill % 2 and children else process.pid, signal.SIGKILL)
        num_killed += process.wait() != 0  # a worker that was done with everything is not missed
        assert process.returncode in (0, 1, -signal.SIGKILL), process.stderr.read()
        wait_until(all_gone, children, otherwise="a worker outlived its main process")

    assert num_killed >= NUM_KILLS // 2
    last = start(config_file, root)
    assert last.wait() == 0, last.stderr.read()
    assert content(root) == expected
