"""Retraining decides from what lies on the disk: killed anywhere and run again it ends as if it had not been."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.__main__ import main
from flows.retraining import Outcome, due, retrain_with
from storage.registry import Registry
from storage.store import Store
from tests.waiting import PATIENCE_S

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from retrain_world import config_in, publish, steps  # noqa: E402 - tests are no package


@pytest.fixture
def root(tmp_path):
    publish(tmp_path, 1, 10)
    return tmp_path


def registry_in(root):
    return Registry(Store(str(root)))


def test_killed_before_or_after_any_file_it_never_trains_or_promotes_twice_and_production_is_never_unset(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    script = [sys.executable, str(HERE / "retrain_world.py"), str(tmp_path)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    *kills, undisturbed = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kills) == 18  # nine files, before and after each
    first, second = undisturbed["end"]["promotions"]
    assert undisturbed["end"]["trained"] == [first, second]
    for seen in kills:
        assert seen["code"] == -9
        assert seen["killed"]["production"] in (first, second)
        assert seen["again"] == ("nothing new" if seen["killed"]["production"] == second else "promoted")
        assert seen["due"] == "nothing new"
        assert seen["end"] == undisturbed["end"]  # each trained once, each promoted once


def test_nothing_new_ends_without_prefect_torch_or_a_training(root):
    assert retrain_with(steps(root), config_in(root)).kind == "promoted"
    command = "import sys; from flows.cli.__main__ import main; main(sys.argv[1:]); print(sorted(sys.modules))"
    config = root / "retrain.yaml"
    config.write_text(config_in(root).model_dump_json())
    run = subprocess.run(
        [sys.executable, "-c", command, "retrain", str(config)], capture_output=True, text=True, cwd=HERE.parent.parent
    )
    assert run.returncode == 0, run.stderr
    said, modules = run.stdout.splitlines()
    assert said.startswith("nothing new: ")
    assert "'torch'" not in modules and "'prefect'" not in modules


def test_too_few_new_crops_are_not_worth_a_training(root):
    version = retrain_with(steps(root), config_in(root)).version
    publish(root, 2, 11)  # one of eleven is new
    outcome = due(config_in(root, min_new_share=0.1))
    assert isinstance(outcome, Outcome)
    assert f"1 of 11 training crops in people-000000000002 are new to {version}, 9.1%" in outcome.reason
    assert not isinstance(due(config_in(root, min_new_share=0.09)), Outcome)


def test_a_worse_model_stays_a_candidate_with_every_number_and_is_not_trained_again(root):
    first = retrain_with(steps(root), config_in(root)).version
    publish(root, 2, 20)
    harsh = {"first_model": "always", "primary": {"metric": "psnr"}, "guards": []}
    outcome = retrain_with(steps(root), config_in(root, promotion=harsh))
    assert outcome.kind == "refused"
    registry = registry_in(root)
    assert registry.aliases("m") == {"candidate": outcome.version, "production": first}
    decision = registry.record("m", outcome.version, "decision")
    assert decision["against"] == first
    assert decision["growth"] == {"num_crops": 20, "num_new": 10, "share": 0.5, "min_share": 0.1}
    assert "psnr on val cannot be judged" in decision["reason"]
    assert registry.version("m", outcome.version)["parent"] == first
    assert due(config_in(root, promotion=harsh)).kind == "nothing new"


def test_what_people_do_to_production_meanwhile_is_not_undone(root):
    first = retrain_with(steps(root), config_in(root)).version
    publish(root, 2, 20)
    registry = registry_in(root)
    second = retrain_with(steps(root), config_in(root)).version
    registry.rollback("m", why="it smears faces")
    assert due(config_in(root)).kind == "nothing new"
    assert registry.alias("m", "production") == first
    publish(root, 3, 40)

    def intervene(benchmark, a, b, config):
        registry.promote("m", second, why="the old one was worse still")
        return steps(root).compare(benchmark, a, b, config)

    meddled = type(steps(root))(**{**vars(steps(root)), "compare": intervene})
    outcome = retrain_with(meddled, config_in(root))
    assert outcome.kind == "overtaken" and second in outcome.reason
    assert registry.alias("m", "production") == second


def test_models_on_the_command_line(root, capsys):
    first = retrain_with(steps(root), config_in(root)).version
    publish(root, 2, 20)
    second = retrain_with(steps(root), config_in(root)).version
    where = str(root)
    assert main(["models", "list", where]) == 0
    listed = capsys.readouterr().out
    assert all(word in listed for word in (first, second, "production"))
    assert main(["models", "rollback", where, "m", "--why", "it smears faces"]) == 0
    assert main(["models", "show", where, f"m/{second}"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("dists", "50.0%", "rollback", "it smears faces", "low end > 0"))
    assert main(["models", "promote", where, f"m/{second}", "--why", "no"]) == 0
    assert main(["models", "rollback", where, "m", "--why", "yes"]) == 0
    assert main(["models", "rollback", where, "m", "--why", "further"]) == 2
    assert "no earlier version" in capsys.readouterr().err
    assert main(["models", "verify", where]) == 0
    weights = root / "models/m" / first / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert main(["models", "verify", where]) == 1
    assert main(["models", "promote", where, f"m/{first}", "--to", "staging", "--why", "no"]) == 2
    assert "SHA-256 differs" in capsys.readouterr().err
