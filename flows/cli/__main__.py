"""The command line: `persona`. What each command does stands in the file of its group."""

import multiprocessing
import os
import signal
import sys
from typing import Annotated

import typer

from flows.cli import (
    benchmark,
    browse,
    config,
    curate,
    doctor,
    evaluate,
    init,
    models,
    report,
    restore,
    snapshot,
    sources,
    train,
)
from flows.cli.errors import tell
from storage.errors import ExitCode

QUIET = {
    # Prefect never starts a server of its own, stays silent, and sends nothing anywhere.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    # No process that is started from here imports the user's own `tasks.py` or `random.py` from the current folder.
    "PYTHONSAFEPATH": "1",
}

DEBUG = "--debug"

app = typer.Typer(
    name="persona",
    help="Annotated photos in, an explained dataset of person crops out, and a model that restores people.",
    epilog="Start with `persona demo`, then `persona init FOLDER`. Every command has an example in its --help.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    init,
    sources,
    doctor,
    config,
    curate,
    report,
    browse,
    snapshot,
    train,
    models,
    restore,
    benchmark,
    evaluate,
):
    app.add_typer(commands.commands)


def _version(wanted: bool) -> None:
    if wanted:
        from storage.code_version import code_version

        print(f"persona {code_version()}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the log, and tracebacks of expected errors too; at any place.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show version and commit.")
    ] = False,
) -> None:
    """What holds for every command."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if debug:
        from flows.execution.run_log import log_to_terminal

        log_to_terminal()


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 where what was looked at is not in order, or says what went wrong."""
    given = sys.argv[1:] if arguments is None else arguments
    given = sorted(given, key=lambda argument: argument != DEBUG)  # it may stand anywhere
    debug = DEBUG in given
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(given, prog_name="persona", standalone_mode=False)
    except typer.TyperException as error:  # an argument that cannot be used
        if words := error.format_message():  # there are none where help was shown instead
            print(f"persona: {words} (see `persona --help`)", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - told with its traceback where it is not expected
        return tell(error, debug)
    except Terminated:
        code = ExitCode.TERMINATED
    finally:
        signal.signal(signal.SIGTERM, before)
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        for worker in multiprocessing.active_children():
            worker.kill()  # it would finish its shard first, which takes minutes; half a shard leaves nothing behind
        print("persona: stopped; run the same command again to go on", file=sys.stderr)
    return int(code or 0)


class Terminated(BaseException):
    """SIGTERM, as schedulers send it, ends a command as Ctrl-C does."""


def _terminate(signal_number: int, frame: object) -> None:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
