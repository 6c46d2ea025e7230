"""`persona snapshot`: look at published snapshots."""

import argparse

from flows.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the commands of this file to the parser."""
    snapshot = commands.add_parser("snapshot", help="look at published snapshots")
    verbs = snapshot.add_subparsers(dest="verb", required=True, metavar="VERB")
    verify = verbs.add_parser("verify", help="compare every byte with the manifest")
    verify.add_argument("snapshot", metavar="SNAPSHOT", help="folder or address of a snapshot")
    verify.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from storage.snapshot import verify_snapshot
    from storage.store import Store

    problems = verify_snapshot(Store(options.snapshot), "")
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{options.snapshot}: every file is as published")
    return 1 if problems else 0
