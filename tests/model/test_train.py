"""The real training process on a small published snapshot: killed, resumed, on two devices, and gone wrong."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from model.model_folder import TENSORS, load_model
from model.train import main
from model.training.exit_codes import FINAL
from model.training.run_folder import checkpoint_folder, checkpoints, read_result
from model.training.train_config import TrainConfig
from model.training.train_step import Training, faulty_crops, learning_rate
from storage.errors import ExitCode
from tasks.training.process import LaunchConfig, TrainingGaveUpError, run_training, started, training_command
from tests.model.test_crops_stream import write_snapshot
from tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parent.parent.parent
OPTIMIZER = "state/optimizer.safetensors"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("root"), [[4, 3], [4]], side_px=32)[0]


@pytest.fixture
def config(snapshot, tiny_network, tmp_path):
    """A function that writes a configuration with some other values, and returns its path and the run's folder."""

    def write(name, **values):
        whole = {
            "output": str(tmp_path / name),
            "snapshot": str(snapshot),
            "network": tiny_network.model_dump(mode="json"),
            "losses": {"lpips": 0},
            "side_px": 32,
            "steps": 4,
            "batch_size": 2,
            "learning_rate": 1e-3,
            "precision": "fp32",
            "gradient_checkpointing": False,
            "channels_last": False,
            "device": "cpu",
            "num_workers": 0,
            "log_every": 1,
            "grid_every": 2,
            "checkpoint_every": 1,
        }
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(whole | values))
        return str(tmp_path / f"{name}.yaml"), tmp_path / name

    return write


@pytest.fixture(autouse=True)
def one_thread():
    """As in the subprocesses: sums over another number of threads are rounded in another way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE
    )


def tensors_of(folder, *names):
    return {f"{name}:{key}": value.clone() for name in names for key, value in load_file(folder / name).items()}


def assert_equal(one, other, atol=0.0):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(
            tensor, other[name], atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


def curves(output):
    return [json.loads(line) for line in (output / "curves.jsonl").read_text().splitlines()]


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(config):
    whole_config, whole = config("whole")
    assert main([whole_config]) == 0
    cut_config, cut = config("cut")
    process = start("-m", "model.train", cut_config)
    while not checkpoint_folder(cut, 2).exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_result(cut) is None and not checkpoint_folder(cut, 4).exists()
    (cut / "checkpoints" / ".step-00000003.99.part").mkdir()  # as a kill within a checkpoint leaves it
    assert main([cut_config]) == ExitCode.BAD_INPUT  # nothing is begun anew unasked
    assert main([cut_config, "--resume"]) == 0
    files = (TENSORS, OPTIMIZER, "state/regularizer.safetensors")
    assert_equal(tensors_of(checkpoint_folder(whole, 4), *files), tensors_of(checkpoint_folder(cut, 4), *files))
    assert [line["step"] for line in curves(cut)] == [1, 2, 3, 4]
    for one, other in zip(curves(whole), curves(cut), strict=True):
        assert {k: v for k, v in one.items() if "loss" in k} == {k: v for k, v in other.items() if "loss" in k}
    assert [folder.name for folder in sorted((cut / "checkpoints").iterdir())] == [
        f"step-0000000{i}" for i in (2, 3, 4)
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_update_finish_and_leaves_a_checkpoint_to_go_on_from(
    config, monkeypatch, capsys, number, code
):
    whole_config, whole = config("whole", steps=3, checkpoint_every=100)
    assert main([whole_config]) == 0
    cut_config, cut = config("cut", steps=3, checkpoint_every=100, num_workers=1)
    before, apply = signal.signal(signal.SIGINT, signal.default_int_handler), Training.apply

    def apply_with_signal(training, step):
        if step == 1:
            for process in (*multiprocessing.active_children(), multiprocessing.current_process()):
                os.kill(process.pid, number)  # as a terminal or a scheduler sends it, to the whole group
        return apply(training, step)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "apply", apply_with_signal)
        assert main([cut_config]) == code
    assert "model.train: stopped after step 2; add --resume to go on" in capsys.readouterr().err
    assert [folder.name for folder in checkpoints(cut)] == ["step-00000002"]
    assert (read_result(cut)["exit_code"], read_result(cut)["step"]) == (code, 2)
    assert main([cut_config, "--resume"]) == 0
    signal.signal(signal.SIGINT, before)
    files = (TENSORS, OPTIMIZER, "state/regularizer.safetensors")
    assert_equal(tensors_of(checkpoint_folder(whole, 3), *files), tensors_of(checkpoint_folder(cut, 3), *files))


def test_two_processes_stop_together_when_their_launcher_is_told_to(config):
    path, output = config("run", steps=100_000, checkpoint_every=100_000)
    with started(training_command(Path(path), LaunchConfig(num_processes=2, cpu=True))) as process:
        wait_until(lambda: process.poll() is None and (output / "curves.jsonl").exists(), otherwise="it did not start")
    result = read_result(output)
    assert result["exit_code"] == ExitCode.TERMINATED and result["step"] > 0
    assert [folder.name for folder in checkpoints(output)] == [f"step-{result['step']:08d}"]


def test_a_snapshot_that_is_away_is_waited_for_and_a_damaged_one_is_not(config, snapshot, tmp_path, monkeypatch):
    copy = tmp_path / "disk" / snapshot.name
    shutil.copytree(snapshot, copy)
    path, output = config("run", steps=6, snapshot=str(copy))
    apply = Training.apply

    def apply_and_unmount(training, step):
        if step == 1:
            (tmp_path / "disk").rename(tmp_path / "away")
        return apply(training, step)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "apply", apply_and_unmount)
        assert main([path]) == ExitCode.DISK_OR_NETWORK
    assert main([path, "--resume"]) == ExitCode.DISK_OR_NETWORK
    assert "is not there any more: make its disk available" in read_result(output)["meaning"]
    assert ExitCode.DISK_OR_NETWORK not in FINAL
    (tmp_path / "away").rename(tmp_path / "disk")
    for table in copy.glob("**/*.parquet"):
        table.write_bytes(table.read_bytes()[:-8])
    assert main([path, "--resume"]) == ExitCode.DAMAGED_FILE
    assert "is damaged" in read_result(output)["meaning"] and ExitCode.DAMAGED_FILE in FINAL
    shutil.rmtree(copy)
    shutil.copytree(snapshot, copy)
    assert main([path, "--resume"]) == 0


def test_two_processes_give_the_gradients_of_one_with_both_batches(config):
    """The first moment of AdamW after one update is a tenth of the gradient, which is not clipped here."""
    together_config, together = config("together", steps=1, batch_size=4, max_gradient_norm=1e9)
    apart_config, apart = config("apart", steps=1, batch_size=4, max_gradient_norm=1e9)
    parts_config, parts = config("parts", steps=1, batch_size=4, accumulation=2, max_gradient_norm=1e9)
    process = start(*training_command(Path(apart_config), LaunchConfig(num_processes=2, cpu=True))[1:])
    assert main([together_config]) == 0
    assert main([parts_config]) == 0
    assert process.wait(PATIENCE_S) == 0, process.stderr.read().decode()
    assert [read_result(run)["num_processes"] for run in (together, apart, parts)] == [1, 2, 1]
    gradients = [
        {
            key: 10 * value
            for key, value in load_file(checkpoint_folder(run, 1) / OPTIMIZER).items()
            if "exp_avg/" in key
        }
        for run in (together, apart, parts)
    ]
    assert len(gradients[0]) > 200 and sum(float(g.abs().sum()) for g in gradients[0].values()) > 1
    assert_equal(gradients[0], gradients[1], atol=1e-5)
    assert_equal(gradients[0], gradients[2], atol=1e-5)
    assert curves(together)[0]["loss/mse"] == pytest.approx(curves(apart)[0]["loss/mse"], abs=1e-6)


def test_two_processes_end_with_the_exit_code_of_one(config):
    """Their launcher ends with 1 of its own; a try for each of three would be two too many."""
    path, output = config("run", learning_rate=1e30, max_skipped=0)
    command = training_command(Path(path), LaunchConfig(num_processes=2, cpu=True))
    with pytest.raises(TrainingGaveUpError, match="after 1 try with exit code 8: A loss was not finite"):
        run_training(command, output, 3, FINAL, lambda line: None)
    assert checkpoints(output)[-1].name == "step-00000001"


def test_an_unforeseen_error_leaves_a_result_too(config, monkeypatch):
    path, output = config("run", steps=2)
    monkeypatch.setattr(Training, "apply", lambda *_: {}["planted"])
    with pytest.raises(KeyError, match="planted"):
        main([path])
    assert read_result(output)["exit_code"] == ExitCode.BUG and "crashed" in read_result(output)["meaning"]


def test_a_finished_run_is_left_alone_and_explains_itself(config, snapshot):
    path, output = config("run", steps=2)
    assert main([path]) == 0
    before = {file: file.stat().st_mtime_ns for file in output.rglob("*") if file.is_file()}
    assert main([path]) == 0 and main([path, "--resume"]) == 0
    assert main([path, "--set", "learning_rate=0.5"]) == ExitCode.BAD_INPUT
    assert {file: file.stat().st_mtime_ns for file in output.rglob("*") if file.is_file()} == before
    result = read_result(output)
    assert (result["status"], result["exit_code"], result["step"]) == ("completed", 0, 2)
    assert result["snapshot"]["id"] == snapshot.name and result["images_per_s"] > 0
    assert load_model(output / result["model"], "cpu")(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    terms = {"loss/mse", "loss/vsd", "loss/generator", "loss/regularizer", "vsd/gradient_rms", "vsd/cosine"}
    assert terms | {"learning_rate", "images_per_s", "memory_gb"} <= curves(output)[-1].keys()
    assert curves(output)[0]["loss/vsd"] == 0 < curves(output)[1]["loss/vsd"]
    assert list(output.glob("grids/*.png")) and list(output.glob("tensorboard/**/events*"))


def test_a_run_is_extended_and_saves_memory_on_the_way(config, capsys):
    """What the advice for too little memory names is no other run, and neither is a longer one."""
    whole_config, whole = config("whole")
    path, output = config("run", steps=2)
    assert main([whole_config]) == 0 and main([path]) == 0
    assert main([path, "--set", "steps=4"]) == ExitCode.BAD_INPUT
    assert "ended at step 2: add --resume to extend it to 4" in capsys.readouterr().err
    assert main([path, "--set", "steps=3", "--resume"]) == 0
    saving = ["gradient_checkpointing=true", "accumulation=2", "channels_last=true", "steps=4"]
    options = [part for value in saving for part in ("--set", value)]
    assert main([path, "--resume", *options]) == 0
    assert [line["step"] for line in curves(output)] == [1, 2, 3, 4] and read_result(output)["step"] == 4
    files = (TENSORS, OPTIMIZER)
    assert_equal(tensors_of(checkpoint_folder(whole, 3), *files), tensors_of(checkpoint_folder(output, 3), *files))
    # The first updates of AdamW are about as large as the learning rate, wherever a gradient is near zero.
    last = [tensors_of(checkpoint_folder(run, 4), TENSORS) for run in (whole, output)]
    assert_equal(*last, atol=2e-3)
    assert main([path, "--set", "steps=1", "--resume"]) == ExitCode.BAD_INPUT
    assert main([path, "--set", "steps=5", "--set", "decay=linear", "--resume"]) == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("decay", "middle", "last"), [("constant", 1, 1), ("linear", 0.5, 0.1), ("cosine", 0.5, 0.0245)]
)
def test_the_learning_rate_rises_and_then_stays_or_falls_to_the_end(snapshot, decay, middle, last):
    config = TrainConfig(output="o", snapshot=snapshot, steps=14, warmup_steps=4, learning_rate=1, decay=decay)
    rates = [learning_rate(config, step) for step in range(14)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1, 1]
    assert (rates[9], rates[13]) == pytest.approx((middle, last), abs=1e-3)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_a_loss_that_is_not_finite_stops_before_the_update(config, capsys):
    path, output = config("run", learning_rate=1e30, max_skipped=0)
    assert main([path]) == ExitCode.NON_FINITE_LOSS
    result = read_result(output)
    assert (result["status"], result["exit_code"], result["step"]) == ("failed", 8, 1)
    assert "is not finite at step 1, with the crops crop-00" in result["meaning"]
    assert "is not finite at step 1" in capsys.readouterr().err
    kept = load_file(output / result["model"] / TENSORS)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert ExitCode.NON_FINITE_LOSS in FINAL


def test_updates_that_are_not_finite_are_left_out_but_not_too_many_in_a_row(config, monkeypatch, capsys):
    accumulate = Training.accumulate

    def faulty_at(*steps):
        def planted(training, batch, step):
            factor = float("nan") if step in steps else 1.0
            return accumulate(training, batch | {"hq": batch["hq"] * factor}, step)

        return planted

    sizes = {"steps": 6, "max_skipped": 2, "checkpoint_every": 1, "keep_checkpoints": 9}
    path, output = config("some", **sizes)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "accumulate", faulty_at(1, 2, 4))
        assert main([path]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert [line.split(",")[0] for line in told] == [f"a loss is not finite at step {i}" for i in (1, 2, 4)]
    assert all("with the crops crop-0" in line for line in told)
    assert [line.get("num_skipped") for line in curves(output)] == [None, 1, 2, None, 1, None]
    files = (TENSORS, OPTIMIZER, "state/regularizer.safetensors")
    assert_equal(*(tensors_of(checkpoint_folder(output, step), *files) for step in (1, 3)))
    path, output = config("many", **sizes)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "accumulate", faulty_at(1, 2, 3))
        assert main([path]) == ExitCode.NON_FINITE_LOSS
        assert main([path, "--resume"]) == ExitCode.NON_FINITE_LOSS  # how many there were is in the checkpoint
    assert read_result(output)["step"] == 3 and "at step 3, with the crops crop-0" in read_result(output)["meaning"]


def test_the_moving_average_is_the_model_and_every_recipe_goes_on_where_it_was(config, tiny_network):
    network = tiny_network.model_dump(mode="json") | {"timestep": 199, "unet": {"rank": 2, "alpha": 3}}
    recipe = {"network": network, "losses": {"lpips": 0, "vsd_weight": "printed"}, "keep_checkpoints": 9}
    whole_config, whole = config("whole", ema_decay=0.2, **recipe)
    plain_config, plain = config("plain", **recipe)
    cut_config, cut = config("cut", ema_decay=0.2, **recipe | {"steps": 2})
    assert main([whole_config]) == 0 and main([plain_config]) == 0 and main([cut_config]) == 0
    assert main([cut_config, "--set", "steps=4", "--resume"]) == 0
    files = (TENSORS, OPTIMIZER, "state/last.safetensors")
    assert_equal(tensors_of(checkpoint_folder(whole, 4), *files), tensors_of(checkpoint_folder(cut, 4), *files))
    last = [
        load_file(checkpoint_folder(plain, step) / TENSORS) for step in range(1, 5)
    ]  # averaging changes no training
    assert_equal(last[-1], load_file(checkpoint_folder(whole, 4) / "state/last.safetensors"))
    average = load_file(checkpoint_folder(whole, 1) / TENSORS)
    for step, decay in ((1, 2 / 11), (2, 0.2), (3, 0.2)):
        average = {name: decay * value + (1 - decay) * last[step][name] for name, value in average.items()}
    assert_equal(average, load_file(checkpoint_folder(whole, 4) / TENSORS), atol=1e-6)


def test_only_the_crops_at_fault_are_named():
    z_h = torch.zeros(3, 4, 2, 2)
    assert faulty_crops("abc", z_h) == ["a", "b", "c"]  # such as LPIPS alone: it may be any of them
    z_h[1, 0, 0, 0] = float("nan")
    assert faulty_crops("abc", z_h) == ["b"]


@pytest.mark.parametrize(
    ("values", "code", "sentence"),
    [
        ({"network": {"base": "./nowhere"}}, 3, "base ./nowhere is no folder here"),
        ({"snapshot": "./nowhere"}, 2, "manifest.json is missing"),
        ({"side_px": 36}, 2, "side_px 36 must be a multiple of 16"),
        ({"accumulation": 3}, 2, "batch_size 2 must be a multiple of 1 devices times accumulation 3"),
        ({"learning_rat": 1}, 2, "did you mean learning_rate?"),
        ({"warm_start": "./nowhere"}, 2, "is no model folder"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_sentence(config, capsys, values, code, sentence):
    assert main([config("run", **values)[0]]) == code
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("model.train: ") and sentence in message


def test_a_damaged_checkpoint_is_passed_over(config, capsys):
    path, output = config("run", steps=2)
    assert main([path]) == 0
    whole = tensors_of(checkpoint_folder(output, 2), TENSORS, OPTIMIZER)
    newest = checkpoint_folder(output, 2) / TENSORS
    newest.write_bytes(newest.read_bytes()[:-1])
    (output / "result.json").unlink()
    assert main([path, "--resume"]) == 0
    assert "checkpoint step-00000002 is left out" in capsys.readouterr().out
    assert_equal(whole, tensors_of(checkpoint_folder(output, 2), TENSORS, OPTIMIZER))


def test_warm_start_begins_with_the_other_models_weights(config):
    first_config, first = config("first", steps=1)
    assert main([first_config]) == 0
    model = checkpoints(first)[-1]
    second_config, second = config("second", steps=1, learning_rate=1e-12, warm_start=str(model))
    assert main([second_config]) == 0
    assert_equal(load_file(model / TENSORS), load_file(checkpoint_folder(second, 1) / TENSORS), atol=1e-6)
    assert curves(second)[0]["loss/vsd"] > 0  # the regularizer's adapter came along


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_close(config, precision):
    exact_config, exact = config("exact", steps=1)
    low_config, low = config(
        "low", steps=2, precision=precision, gradient_checkpointing=True, channels_last=True, checkpoint_every=2
    )
    assert main([exact_config]) == 0 and main([low_config]) == 0
    for term in ("loss/mse", "loss/regularizer"):
        assert curves(low)[0][term] == pytest.approx(curves(exact)[0][term], rel=0.05)
    tensors = load_file(checkpoint_folder(low, 2) / TENSORS)
    assert all(tensor.dtype == torch.float32 and torch.isfinite(tensor).all() for tensor in tensors.values())
