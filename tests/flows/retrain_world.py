"""A world of snapshots in which retraining takes milliseconds; run as a script, it is killed at every step in turn.

Registry, decision and training process are the real ones; only what takes minutes, the network's own work and the
metrics, is left to a few lines. The whole circle with the real ones: test_circle.py.

    python retrain_world.py FOLDER      prints a line of JSON per kill
"""

import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from flows.retraining import Outcome, RetrainConfig, Steps, due, retrain_with
from storage.config_file import validated
from storage.evaluation import BenchmarkName, Comparison, Difference, Evaluation, MetricResult
from storage.registry import Registry
from storage.snapshot import FileFacts, Snapshot
from storage.store import Store
from tasks.training import train as training

# What `python -m model.train` does, as far as the outside sees it; the log tells how often it worked to the end.
TRAINING = """
import hashlib, json, pathlib, sys, yaml
config = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())
output = pathlib.Path(config["output"])
model = output / "checkpoints/step-00000002"
model.mkdir(parents=True, exist_ok=True)
weights = config["name"].encode()
(model / "generator.safetensors").write_bytes(weights)
facts = {"generator.safetensors": {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}}
snapshot = json.loads((pathlib.Path(config["snapshot"]) / "manifest.json").read_text())
origin = {"id": snapshot["id"], "digest": snapshot["digest"], "path": config["snapshot"]}
about = {"snapshot": origin, "kind": "osdhuman", "training": config,
         "step": 2, "code_version": "1", "files": facts}
(model / "model.json").write_text(json.dumps(about))
(output / "curves.jsonl").write_text("{}\\n")
with (output.parent / "trained.log").open("a") as log:
    log.write(config["name"] + "\\n")
(output / "result.json").write_text(json.dumps({"status": "completed", "model": "checkpoints/step-00000002"}))
"""


def publish(root, number, num_crops, name="people"):
    """A snapshot with crops 0 … num_crops - 1; the later, the newer."""
    snapshot = Snapshot(Store(str(root)), f"{name}-{number:012d}")
    path = snapshot.store.local(snapshot.file("train/00000.parquet"))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"crop_id": [f"c{i}" for i in range(num_crops)]}), path)
    facts = FileFacts("train/00000.parquet", "train", num_crops, path.stat().st_size, "0" * 64)
    snapshot.commit({"format_version": 1, "name": name, "id": snapshot.id, "files": [facts]})
    manifest = snapshot.store.local(snapshot.file("manifest.json"))
    os.utime(manifest, ns=(number * 10**9, number * 10**9))
    return snapshot.id


def config_in(root, **more):
    training = Path(root) / "training.yaml"
    training.write_text(yaml.safe_dump({"steps": 2, "network": {"base": "none"}}))
    train = {"root": str(root), "dataset": "people", "model": "m", "training": str(training)}
    promotion = {"first_model": "always", "primary": {"metric": "dists"}, "guards": []}
    return validated(RetrainConfig, {"train": train, "promotion": promotion, **more}, "test")


def steps(root):
    """Steps of a world where every later snapshot gives a better model, and any model beats LQ."""

    def train(plan):
        training.training_command = lambda config, launch: [sys.executable, "-c", PATHS + TRAINING, str(config)]
        training.train_version(plan, lambda line: None)

    def judge(benchmark, model, label, config):
        number = int(json.loads((model / "version.json").read_text())["snapshot"]["id"][-12:]) if model else 0
        dists = MetricResult(lower_is_better=True, mean=0.6 - 0.1 * number, num=40)
        return Evaluation(
            id=f"e-{label}", label=label, kind="model" if model else "lq", metrics={"dists": dists}, primary="dists",
            benchmark=BenchmarkName(id=benchmark.name, digest="d", has_hq=True), num_images=40, num_failed=0,
            weights={}, notes={}, code_version="1",
        )  # fmt: skip

    def compare(benchmark, a, b, config):
        mean = a.metrics["dists"].mean - b.metrics["dists"].mean
        difference = Difference(lower_is_better=True, mean=mean, low=mean - 0.01, high=mean + 0.01, num=40)
        return Comparison(id="c", a=a.id, b=b.id, benchmark=a.benchmark, differences={"dists": difference})

    return Steps(train, lambda snapshot, config: Path("benchmarks/val"), judge, compare)


PATHS = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"


def die_at(number):
    """Be killed right before (odd numbers) or right after (even ones) a file appears under its name."""
    left = number

    def tick():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def killing(function):
        def call(*arguments, **keywords):
            tick()
            function(*arguments, **keywords)
            tick()

        return call

    Path.replace, os.link = killing(Path.replace), killing(os.link)


def in_child(work, *arguments):
    """Exit code of a forked process that does the work, negative if it was killed, and the JSON that came out."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(work(*arguments)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        out = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), json.loads(out) if out else None


def state(root):
    registry, log = Registry(Store(str(root))), root / "training/m/trained.log"
    return {
        "trained": log.read_text().split() if log.exists() else [],
        "production": registry.alias("m", "production"),
        "promotions": [change.version for change in registry.history("m", "production")],
    }


def retrain_here(root, kill=0):
    if kill:
        die_at(kill)
    return retrain_with(steps(root), config_in(root)).kind


def what_is_due(root):
    found = due(config_in(root))
    return found.kind if isinstance(found, Outcome) else "work"


def main(folder):
    """A second snapshot is retrained on and killed at every moment in turn, until there is none left."""
    begun = folder / "begun"
    begun.mkdir()
    in_child(publish, begun, 1, 10)
    in_child(retrain_here, begun)
    in_child(publish, begun, 2, 20)
    for kill in itertools.count(1):
        root = folder / f"kill-{kill}"
        shutil.copytree(begun, root)
        code, _ = in_child(retrain_here, root, kill)
        killed = in_child(state, root)[1]
        again = in_child(retrain_here, root)[1]
        seen = {"code": code, "killed": killed, "again": again, "due": in_child(what_is_due, root)[1]}
        print(json.dumps({**seen, "end": in_child(state, root)[1]}), flush=True)
        if code == 0:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
