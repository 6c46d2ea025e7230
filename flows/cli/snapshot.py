"""`persona snapshot`: look at published snapshots."""

from typing import Annotated

import typer

from flows.cli.arguments import KEPT_IN, RootOption, SnapshotArgument, find_snapshot, group

commands = typer.Typer()
snapshot = group("Look at published snapshots.")
commands.add_typer(snapshot, name="snapshot", rich_help_panel="Dataset")


@snapshot.command(epilog="Example: persona snapshot verify runs/mine/snapshots/mine-0123456789ab")
def verify(snapshot: SnapshotArgument, root: RootOption = KEPT_IN) -> int:
    """Compare every byte with the manifest."""
    from storage.snapshot import verify_snapshot

    found = find_snapshot(snapshot, root)
    problems = verify_snapshot(found.store, found.path)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{snapshot}: every file is as published")
    return 1 if problems else 0


@snapshot.command(epilog="Example: persona snapshot audit runs/mine/snapshots/mine-0123456789ab")
def audit(
    snapshot: SnapshotArgument,
    against: Annotated[
        list[str] | None, typer.Option(metavar="BENCHMARK", help="Folder of a benchmark; as often as needed.")
    ] = None,
    root: RootOption = KEPT_IN,
) -> int:
    """Show what train, val and test share (must be nothing), and what they hold."""
    from flows.cli.show_judging import audit_and_show

    return audit_and_show(find_snapshot(snapshot, root), against or ())
