"""The command line: `persona`. Heavy libraries are imported by the command that needs them."""

import argparse
import os
import sys
from pathlib import Path

QUIET = {
    # Prefect starts a server of its own where none is named; it stays silent, and sends nothing anywhere.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
}

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 for a run that failed, or 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(prog="persona", description="Person crops for restoration models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    curate = commands.add_parser("curate", help="annotated photos in, an explained snapshot out")
    curate.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file, such as configs/demo.yaml")
    curate.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
    curate.set_defaults(run=_curate)

    demo = commands.add_parser("demo", help="the same on a handful of photos that come with installed packages")
    demo.add_argument("--root", type=Path, default=Path("runs/demo"))
    demo.set_defaults(run=_demo)

    funnel = commands.add_parser("funnel", help="what became of everything, stage by stage")
    funnel.add_argument("root", metavar="ROOT")
    funnel.set_defaults(run=_funnel)

    calibrate = commands.add_parser("calibrate", help="what other limits would yield, from scores already made")
    calibrate.add_argument("config", type=Path, metavar="CONFIG")
    calibrate.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
    calibrate.add_argument("--crops", type=int, metavar="N", help="find the limits that give about N crops")
    calibrate.set_defaults(run=_calibrate)

    snapshot = commands.add_parser("snapshot", help="look at published snapshots")
    verbs = snapshot.add_subparsers(dest="verb", required=True, metavar="VERB")
    verify = verbs.add_parser("verify", help="compare every byte with the manifest")
    verify.add_argument("snapshot", metavar="SNAPSHOT", help="folder or address of a snapshot")
    verify.set_defaults(run=_verify)

    options = parser.parse_args(arguments)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from flows.errors import EXPECTED, exit_code

    try:
        return int(options.run(options))
    except EXPECTED as error:
        print(f"persona: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("persona: stopped; run the same command again to go on", file=sys.stderr)
        return 130


def _curate(options: argparse.Namespace) -> int:
    from flows.config import load_config
    from flows.show import curate_and_show

    return curate_and_show(load_config(options.config, options.assignments))


def _demo(options: argparse.Namespace) -> int:
    from flows.demo import demo_config
    from flows.show import curate_and_show

    return curate_and_show(demo_config(options.root))


def _funnel(options: argparse.Namespace) -> int:
    from flows.show import show_funnels

    return show_funnels(options.root)


def _calibrate(options: argparse.Namespace) -> int:
    from flows.config import load_config
    from flows.show import show_calibration

    return show_calibration(load_config(options.config, options.assignments), options.crops)


def _verify(options: argparse.Namespace) -> int:
    from storage.snapshot import verify_snapshot
    from storage.store import Store

    problems = verify_snapshot(Store(options.snapshot), "")
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{options.snapshot}: every file is as published")
    return EXIT_FAILED if problems else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
