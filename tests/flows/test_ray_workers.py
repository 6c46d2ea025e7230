"""A cluster gives the same bytes as worker processes; a real Ray head in a network namespace of its own."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

PROJECT = Path(__file__).parent.parent.parent

RUN = """
import sys
import ray
from flows.execution.ray_cluster import ClusterConfig
from pathlib import Path
from flows.cli.demo import demo_config
from flows.pipeline import curate_with
from tests.counting_runner import CountingRunner

if __name__ == "__main__":
    config = demo_config(Path("root"))
    use_ray = sys.argv[1] == "ray"
    if use_ray:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

        run = config.run.model_copy(update={"cluster": ClusterConfig(address="auto")})
        config = config.model_copy(update={"run": run})
    curate_with(CountingRunner(config), config)
"""


def content(root):
    """Digest of every file but the record of the run, which says where it was carried out."""
    files = (p for p in root.rglob("*") if p.is_file() and p.parent.name != "books")
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not there: Ray would listen on every interface")
def test_cluster_gives_the_same_bytes(tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "RAY_USAGE_STATS_ENABLED": "0"}
    found = []
    for engine in ("processes", "ray"):
        command = f"ip link set lo up 2>/dev/null; exec {sys.executable} {tmp_path}/run.py {engine}"
        run = subprocess.run(
            ["unshare", "--net", "--map-root-user", "sh", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert run.returncode == 0, run.stderr
        found.append(content(tmp_path / "root"))
        shutil.rmtree(tmp_path / "root")
    assert found[0] == found[1]
    assert any(name.endswith("manifest.json") for name in found[0])
