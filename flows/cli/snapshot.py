"""`persona snapshot`: look at published snapshots."""

import argparse

from flows.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the commands of this file to the parser."""
    snapshot = commands.add_parser("snapshot", help="look at published snapshots")
    verbs = snapshot.add_subparsers(dest="verb", required=True, metavar="VERB")
    verify = verbs.add_parser("verify", help="compare every byte with the manifest")
    verify.add_argument("snapshot", metavar="SNAPSHOT", help="folder or address of a snapshot")
    verify.set_defaults(run=_verify)

    audit = verbs.add_parser("audit", help="what train, val and test share (must be nothing), and what they hold")
    audit.add_argument("snapshot", metavar="SNAPSHOT", help="folder or address of a snapshot")
    audit.add_argument("--against", nargs="+", default=[], metavar="BENCHMARK", help="folders of benchmarks")
    audit.set_defaults(run=_audit)


def _audit(options: argparse.Namespace) -> int:
    from flows.cli.show_judging import audit_and_show

    return audit_and_show(options.snapshot, options.against)


def _verify(options: argparse.Namespace) -> int:
    from storage.snapshot import verify_snapshot
    from storage.store import Store

    problems = verify_snapshot(Store(options.snapshot), "")
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{options.snapshot}: every file is as published")
    return 1 if problems else 0
