"""The whole circle on real photos with a tiny model, as an operator sees it: deployments, workers, events.

    prefect server start &
    PREFECT_API_URL=http://127.0.0.1:4200/api python benchmarks/circle.py FOLDER --photos COCO_MINI [--steps 20]

Photos → snapshot 1 → (its event) model 1 promoted; more photos → snapshot 2 → (its event) model 2 trained, compared,
promoted or refused; a sabotaged training refused; nothing new. Prints a line of JSON per stage: what came out, and
the seconds it took. The base model has random weights, so the numbers say nothing about restoration.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import yaml
from prefect import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName

from storage.registry import Registry
from storage.snapshot import list_snapshots
from storage.store import Store

PROJECT = Path(__file__).parent.parent
POLL_S = 0.3
PATIENCE_S = 300


def coco(photos, split):
    return {
        "format": "coco",
        "name": split,
        "photos": str(photos / f"{split}2017"),
        "annotations": str(photos / f"annotations/instances_{split}2017.json"),
    }


def write_configs(folder, photos, steps):
    """`persona.yaml`, `retrain.yaml` and the training's configuration for one root below `folder`."""
    root, configs = folder / "root", folder / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    curate = {
        "name": "people",
        "root": str(root),
        "run": {"workers": 1},
        "sources": [coco(photos, "val")],
        "crop": {"min_side_px": 80, "max_upscale": 8.0, "min_laplacian_variance": 20},
        "score": {"metrics": ["piqe"]},
        "select": {"top_share": 0.9, "val_size": 24, "max_val_share": 0.8},
    }
    training = yaml.safe_load((PROJECT / "configs/osdhuman-tiny.yaml").read_text(encoding="utf-8"))
    training["network"]["base"] = str(folder / "tiny-base")
    training |= {"steps": steps, "checkpoint_every": steps, "grid_every": steps, "log_every": 5, "num_workers": 0}
    guards = [{"metric": "gmsd", "tolerance": 0.02}]
    retrain = {
        "train": {"root": str(root), "dataset": "people", "model": "tiny", "training": str(configs / "training.yaml")},
        "val": {"size": 24},
        "evaluate": {"metrics": ["psnr", "gmsd"], "num_resamples": 500},
        "promotion": {"first_model": "always", "primary": {"metric": "psnr"}, "guards": guards},
    }
    for name, content in (("persona", curate), ("training", training), ("retrain", retrain)):
        (configs / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return configs, root


def run(*command, fails=False, **more):
    done = subprocess.run([sys.executable, "-m", *command], cwd=PROJECT, capture_output=True, text=True, **more)
    assert fails == bool(done.returncode), (
        f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return done.stdout


@contextmanager
def workers(folder):
    """A worker per pool, as docker-compose.yml starts them, from another folder than the project's."""
    processes = []
    try:
        for pool in ("cpu", "gpu"):
            # A shell that starts this in the background has it ignore SIGINT, which is how a worker is stopped.
            command = ["env", "--default-signal=INT"]
            command += [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", f"{pool}-1"]
            log = (folder / f"worker-{pool}.log").open("w")
            environment = {**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "1"}
            processes.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log))
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait(60)


def start(deployment, expected="Completed", **parameters):
    """`prefect deployment run` as an operator types it, until it has ended."""
    json_text = ["--params", json.dumps(parameters)] if parameters else []
    command = ["prefect", "deployment", "run", deployment, "--watch", "--watch-interval", "1", *json_text]
    run(*command, fails=expected != "Completed")


def runs_of(flow):
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])))
    return [run for run in found if run.state and run.state.type.name != "SCHEDULED"]


def wait_for_end(flow, number):
    """Wait until `number` runs of a flow have ended, however they were started; the last of them."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        ended = sorted((r for r in runs_of(flow) if r.state.is_final()), key=lambda r: r.start_time)
        if len(ended) >= number:
            return ended[number - 1]
        assert time.monotonic() < deadline, f"{len(ended)} of {number} runs of {flow} have ended"
        time.sleep(POLL_S)


class Stages:
    """Prints what each stage came to, with its seconds."""

    def __init__(self, root):
        self.registry, self.last = Registry(Store(str(root))), time.monotonic()

    def tell(self, stage, **facts):
        """One line for what has just ended, and where the aliases point since."""
        now = time.monotonic()
        aliases = self.registry.aliases("tiny")
        print(json.dumps({"stage": stage, "seconds": round(now - self.last, 1), **facts, **aliases}), flush=True)
        self.last = now


def decision_of(registry, version):
    decision = registry.record("tiny", version, "decision")
    checks = {
        check["metric"]: [check["candidate"], check["against"], check["improvement"]] for check in decision["checks"]
    }
    return {"promoted": decision["promoted"], "reason": decision["reason"], "checks": checks}


def sabotage(stages, configs, curate):
    """Trainings with absurd learning rates: one ends with numbers that are none, one with a model that is worse.

    A dataset of another name sends its event to nobody, so that only these trainings see it.
    """
    start(
        "curate/people",
        config={**curate, "name": "more", "select": {"top_share": 1.0, "val_size": 24, "max_val_share": 0.8}},
    )
    retrain = yaml.safe_load((configs / "retrain.yaml").read_text(encoding="utf-8"))
    for learning_rate, expected in ((1e4, "Failed"), (0.05, "Completed")):
        absurd = {"dataset": "more", "assignments": [f"learning_rate={learning_rate}"]}
        config = {**retrain, "min_new_share": 0, "train": {**retrain["train"], **absurd}}
        start("retrain/people", config=config, expected=expected)
        last = max(runs_of("retrain"), key=lambda run: run.start_time)
        facts = {"state": last.state.name, "message": last.state.message}
        if last.state.name == "Completed":
            facts |= decision_of(stages.registry, stages.registry.alias("tiny", "candidate"))
        stages.tell(f"sabotaged, learning rate {learning_rate:g}", **facts)


def circle(folder, photos, steps, only_models):
    configs, root = write_configs(folder, photos, steps)
    stages = Stages(root)
    registry = stages.registry
    run("model.tiny_base", folder / "tiny-base")
    run("flows.deploy", env={**os.environ, "PERSONA_CONFIGS": str(configs)})
    stages.tell("deploy")
    curate = yaml.safe_load((configs / "persona.yaml").read_text(encoding="utf-8"))
    with workers(folder):
        start("curate/people")
        stages.tell("snapshot 1", snapshots=len(list_snapshots(registry.store)))
        ended = wait_for_end("retrain", 1)
        stages.tell(
            "model 1",
            state=ended.state.name,
            run=ended.name,
            **decision_of(registry, registry.alias("tiny", "candidate")),
        )

        curate["sources"].append(coco(photos, "train"))
        start("curate/people", config=curate)
        stages.tell("snapshot 2", snapshots=len(list_snapshots(registry.store)))
        ended = wait_for_end("retrain", 2)
        stages.tell(
            "model 2",
            state=ended.state.name,
            run=ended.name,
            **decision_of(registry, registry.alias("tiny", "candidate")),
        )

        if not only_models:
            start("retrain/people")
            stages.tell("nothing new", versions=len(registry.versions("tiny")))
            sabotage(stages, configs, curate)
    stages.tell("end", problems=registry.verify_all(), runs={flow: len(runs_of(flow)) for flow in ("train", "retrain")})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path, required=True, help="folder with COCO's train2017, val2017, annotations")
    parser.add_argument("--steps", type=int, default=20, help="updates per training")
    parser.add_argument("--only-models", action="store_true", help="stop after the second model")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    circle(options.folder.absolute(), options.photos.resolve(), options.steps, options.only_models)
