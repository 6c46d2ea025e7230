"""Killed at any moment, main process or worker, and run again: the same bytes as a run that nobody disturbed."""

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

PROJECT = Path(__file__).parent.parent.parent
NUM_KILLS = 10

# The pipeline as the flow runs it, worker processes and all, without the seconds that Prefect's server takes.
RUN = """
import sys
from pathlib import Path
from flows.config import load_config
from flows.pipeline import curate_with
from flows.root_lock import root_lock
from flows.workers import run_jobs
from storage.store import Store

def main():
    config = load_config(Path(sys.argv[1]), [f"root={sys.argv[2]}"])
    def run(stage, steps):
        return run_jobs([step.job for step in steps if not step.done], config.workers, lambda num: None)
    with root_lock(Store(config.root)):
        curate_with(run, config)

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
        "workers": 2,
        "photos_per_shard": 8,
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


def content(root):
    files = [p for p in root.rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_killed_at_random_moments_it_ends_with_the_same_bytes(config_file, tmp_path):
    began = time.monotonic()
    undisturbed = start(config_file, tmp_path / "undisturbed")
    assert undisturbed.wait() == 0, undisturbed.stderr.read()
    duration_s = time.monotonic() - began
    expected = content(tmp_path / "undisturbed")
    assert any("/manifest.json" in name for name in expected)

    dice = random.Random(2025)
    root = tmp_path / "killed"
    num_killed = {"main": 0, "worker": 0}
    for kill in range(NUM_KILLS):
        process = start(config_file, root)
        # Later runs find more of the work done, so their moments come earlier.
        time.sleep(dice.uniform(0.1, 0.9) * duration_s * (1 - 0.07 * kill))
        workers = children_of(process.pid)
        victim = "worker" if kill % 2 and workers else "main"
        if process.poll() is None:
            os.kill(dice.choice(workers) if victim == "worker" else process.pid, signal.SIGKILL)
            num_killed[victim] += 1
        process.wait()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers), "a worker outlived its main process"
    assert num_killed["main"] >= 3
    assert num_killed["worker"] >= 2

    last = start(config_file, root)
    assert last.wait() == 0, last.stderr.read()
    assert content(root) == expected
