"""The training process as it is seen from outside, with small real processes in its place."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model.training.exit_codes import FINAL
from tasks.training.process import LaunchConfig, TrainingGaveUpError, run_training, training_command
from tests.flows.prefect_run import put_scripts_of_the_user
from tests.waiting import PATIENCE_S, wait_until

PROJECT = Path(__file__).parent.parent.parent

PROCESS = """
import json, os, pathlib, signal, sys
output, ends = pathlib.Path(sys.argv[1]), sys.argv[2].split(",")
log = output / "starts"
starts = log.read_text().splitlines() if log.exists() else []
log.write_text("\\n".join([*starts, " ".join(sys.argv[3:])]) + "\\n")
(output / f"checkpoints/step-{len(starts):08d}").mkdir(parents=True, exist_ok=True)
print("step 1 loss 0.5"); print("schöne Grüße", file=sys.stderr)
end = ends[len(starts)]
if end == "KILL":
    os.kill(os.getpid(), signal.SIGKILL)
if end != "7":
    status = "completed" if end == "0" else "failed"
    (output / "result.json").write_text(json.dumps({"status": status, "meaning": "the loss was not finite"}))
sys.exit(int(end))
"""


def command_in(tmp_path, ends):
    return [sys.executable, "-c", PROCESS, str(tmp_path), ends]


def starts(tmp_path):
    return (tmp_path / "starts").read_text().splitlines()


def test_after_a_crash_it_goes_on_from_its_checkpoint_and_everything_it_says_is_heard(tmp_path):
    heard = []
    result = run_training(command_in(tmp_path, "KILL,1,0"), tmp_path, 3, FINAL, heard.append)
    assert result["status"] == "completed"
    assert starts(tmp_path) == ["", "--resume", "--resume"]
    assert heard.count("step 1 loss 0.5") == heard.count("schöne Grüße") == 3
    assert any("SIGKILL" in line and "try 1 of 3" in line for line in heard)
    run_training(command_in(tmp_path, ""), tmp_path, 3, FINAL, heard.append)  # complete: nothing is started
    assert len(starts(tmp_path)) == 3


@pytest.mark.parametrize(
    ("ends", "num_starts", "parts"),
    [
        ("8,0,0", 1, ["after 1 try", "exit code 8", "the loss was not finite"]),
        ("1,1,1,0", 3, ["after 3 tries", "exit code 1"]),
        ("7,KILL,KILL", 3, ["killed by SIGKILL"]),
        ("9,9,9,0", 1, ["after 1 try", "exit code 9"]),
    ],
)
def test_it_is_given_up_with_the_meaning_of_its_exit_code(tmp_path, ends, num_starts, parts):
    with pytest.raises(TrainingGaveUpError) as error:
        run_training(command_in(tmp_path, ends), tmp_path, 3, FINAL, print, away_s=0)
    assert len(starts(tmp_path)) == num_starts
    assert all(part in str(error.value) for part in parts), error.value


def test_exit_code_0_without_a_result_is_no_success(tmp_path):
    with pytest.raises(TrainingGaveUpError, match=r"no complete result\.json"):
        run_training([sys.executable, "-c", ""], tmp_path, 2, FINAL, print)


def test_it_does_not_outlive_the_flow_that_started_it(tmp_path):
    """A killed worker must not leave a training behind that a second one would disturb."""
    child = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(300)"
    parent = (
        "import signal, sys; from pathlib import Path; from tasks.training.process import run_training\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # which a suite in the background ignores\n"
        "run_training([sys.executable, '-c', sys.argv[1], sys.argv[2] + '/pid'], Path(sys.argv[2]), 1, (), print)"
    )
    for end in (signal.SIGKILL, signal.SIGINT):
        pid_file = tmp_path / "pid"
        pid_file.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", parent, child, str(tmp_path)], cwd=PROJECT, stderr=subprocess.DEVNULL
        )
        wait_until(_has_written, pid_file, process, otherwise="no training was started")
        pid = int(pid_file.read_text())
        process.send_signal(end)
        process.wait(PATIENCE_S)
        wait_until(_is_gone, pid, otherwise="the training is orphaned")


def _has_written(file, process):
    assert process.poll() is None
    return file.exists() and file.read_text()


def _is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_users_own_model_py_is_not_taken_for_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_scripts_of_the_user(tmp_path)
    (tmp_path / "c.yaml").write_text("no_such_key: 1")
    heard = []
    with pytest.raises(TrainingGaveUpError):
        run_training(training_command(Path("c.yaml"), LaunchConfig()), tmp_path, 1, FINAL, heard.append)
    assert any("no_such_key" in line for line in heard), heard
    assert not any("of the user" in line for line in heard), heard


def test_several_gpus_are_started_through_accelerate():
    command = training_command(Path("c.yaml"), LaunchConfig(num_processes=2))
    assert command[1:4] == ["-m", "accelerate.commands.launch", "--multi_gpu"]
    assert command[-3:] == ["-m", "model.train", "c.yaml"]
    assert training_command(Path("c.yaml"), LaunchConfig())[1:] == ["-m", "model.train", "c.yaml"]
