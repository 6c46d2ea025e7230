"""The command line as its users meet it: help, mistyped words, exit codes, and what a bug looks like."""

import errno
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from flows.cli.__main__ import app, main
from flows.cli.arguments import find_snapshot
from flows.cli.errors import exit_code
from flows.execution.run_log import OURS, run_log
from storage.errors import DamagedFileError, ExitCode, InputError
from storage.snapshot import Snapshot
from storage.store import Store

PROJECT = Path(__file__).parent.parent.parent


def leaves(command, words=()):
    """Every command that does something, with the words that name it."""
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, child in command.commands.items():
        yield from leaves(child, (*words, name))


COMMANDS = dict(leaves(get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_a_sentence_and_an_example_and_explains_every_argument(words):
    command = COMMANDS[words]
    assert command.help and command.help.splitlines()[0].endswith(".")
    assert command.epilog and command.epilog.startswith(f"Example: persona {' '.join(words)}")
    unexplained = [parameter.name for parameter in command.params if not parameter.help]
    assert not unexplained


def test_the_root_is_the_first_argument_of_every_command_that_is_about_one():
    for command in COMMANDS.values():
        names = [parameter.name for parameter in command.params if parameter.param_type_name == "argument"]
        assert "root" not in names[1:]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["curat", "x.yaml"], "Did you mean 'curate'?"),
        (["models", "lsit", "x"], "Did you mean 'list'?"),
        (["curate", "x.yaml", "--sett", "a=1"], "--set"),
        (["curate"], "CONFIG"),
        (["evaluate", "--lq"], "exactly one of --snapshot, --benchmark"),
        (["snapshot", "verify", "nothing"], "neither the folder of a snapshot nor an id below"),
    ],
)
def test_a_mistyped_command_is_one_sentence_with_what_was_meant_and_exit_code_2(arguments, told, capsys):
    assert main(arguments) == ExitCode.BAD_INPUT
    message = capsys.readouterr().err
    assert message.startswith("persona: ") and message.count("\n") == 1
    assert told in message


def test_help_and_completion_take_no_half_second_of_a_processor():
    """They import neither Arrow nor torch nor Prefect."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run([sys.executable, "-m", "flows.cli", "--help"], capture_output=True, text=True, cwd=PROJECT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "curate" in shown.stdout
    assert after.ru_utime - before.ru_utime < 1.5  # 0.4 s on a quiet machine; Arrow, pydantic or torch would be more
    environment = {**os.environ, "_PERSONA_COMPLETE": "complete_bash", "COMP_WORDS": "persona cal", "COMP_CWORD": "1"}
    code = "import sys; from flows.cli.__main__ import main; sys.exit(main([]))"
    completed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=PROJECT
    )
    assert completed.stdout.split() == ["calibrate"]
    modules = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "flows.cli", "--help"], capture_output=True, text=True, cwd=PROJECT
    ).stderr
    assert not {"pyarrow", "torch", "prefect", "numpy"} & {line.split("|")[-1].strip() for line in modules.splitlines()}


def test_version_names_the_commit(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("persona 0.")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), ExitCode.BAD_INPUT),
        (DamagedFileError("x"), ExitCode.DAMAGED_FILE),
        (OSError(errno.ENOSPC, "No space left on device", "f"), ExitCode.DISK_OR_NETWORK),
        (OSError("When getting information for key 'k' in bucket 'b': AWS Error NETWORK_CONNECTION"), 7),
        (OSError(errno.EBADF, "Bad file descriptor"), ExitCode.BUG),
        (OSError("codec libx not available"), ExitCode.BUG),
        (ValueError("x"), ExitCode.BUG),
        (KeyError("x"), ExitCode.BUG),
    ],
)
def test_only_our_own_errors_the_disk_and_the_network_are_expected(error, code):
    assert exit_code(error) == code


def raising(error):
    def command(*_):
        raise error

    return command


def test_a_bug_shows_its_traceback_and_says_that_it_is_one(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("flows.cli.show_curate.show_funnels", raising(KeyError("lost")))
    assert main(["funnel", str(tmp_path)]) == ExitCode.BUG
    told = capsys.readouterr().err
    assert "Traceback" in told and "KeyError: 'lost'" in told
    assert told.splitlines()[-1].startswith("persona: this is a bug")


@pytest.fixture
def own_loggers():
    """What --debug does to the loggers of a process is undone."""
    loggers = [logging.getLogger(name) for name in OURS]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.level, logger.propagate, logger.handlers = level, propagate, handlers
        logger.manager._clear_cache()


def test_an_expected_error_shows_its_traceback_only_with_debug_at_any_place(capsys, tmp_path, own_loggers):
    assert main(["funnel", str(tmp_path)]) == ExitCode.BAD_INPUT
    assert "Traceback" not in capsys.readouterr().err
    for arguments in (["funnel", str(tmp_path), "--debug"], ["--debug", "funnel", str(tmp_path)]):
        assert main(arguments) == ExitCode.BAD_INPUT
        assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_told_and_ends_with_130(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("flows.cli.show_curate.show_funnels", raising(KeyboardInterrupt()))
    assert main(["funnel", str(tmp_path)]) == ExitCode.INTERRUPTED
    assert "run the same command again" in capsys.readouterr().err


def test_a_snapshot_is_named_by_its_folder_or_by_its_id(tmp_path):
    store = Store(str(tmp_path))
    Snapshot(store, "mine-0123456789ab").commit({"files": []})
    by_id = find_snapshot("mine-0123456789ab", str(tmp_path))
    by_folder = find_snapshot(str(tmp_path / "snapshots/mine-0123456789ab"), "elsewhere")
    assert by_id.is_committed() and by_folder.is_committed()
    assert (by_id.store.full(by_id.path)) == by_folder.store.full(by_folder.path)
    with pytest.raises(InputError, match="did you mean mine-0123456789ab"):
        find_snapshot("mine-0123456789a", str(tmp_path))


def test_the_log_of_a_run_keeps_what_the_terminal_does_not_show(tmp_path, caplog):
    ours, another = logging.getLogger("tasks.crop.crop"), logging.getLogger("prefect")
    with pytest.raises(InputError), run_log(Store(str(tmp_path)), "curate x"):
        ours.info("one shard")
        ours.warning("look here")
        another.warning("not ours")
        raise InputError("no crop")
    (log,) = (tmp_path / "logs").iterdir()
    text = log.read_text()
    assert "tasks.crop.crop: one shard" in text and "Traceback" in text and "no crop" in text
    assert "not ours" not in text
    assert "one shard" not in caplog.text and "look here" in caplog.text
    ours.info("after the run")
    assert log.read_text() == text and logging.getLogger("tasks").propagate
