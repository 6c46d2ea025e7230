"""The command line: `persona`. What each command does stands in `flows/commands`."""

import argparse
import os
import sys

from flows.cli import benchmark, browse, curate, evaluate, models, report, restore, snapshot, train

QUIET = {
    # Prefect starts a server of its own where none is named; it stays silent, and sends nothing anywhere.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
}

GROUPS = (curate, snapshot, report, train, models, browse, benchmark, evaluate, restore)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 where what was looked at is not in order, or says what went wrong."""
    parser = argparse.ArgumentParser(prog="persona", description="Person crops for restoration models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    options = parser.parse_args(arguments)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from flows.cli.errors import EXPECTED, exit_code

    try:
        return int(options.run(options))
    except EXPECTED as error:
        print(f"persona: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("persona: stopped; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
