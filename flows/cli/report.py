"""`persona report`: one HTML file that tells what a run made of its photos."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.arguments import RootOrSnapshot

commands = typer.Typer()


@commands.command(rich_help_panel="Dataset", epilog="Example: persona report runs/mine -o report.html")
def report(
    place: RootOrSnapshot,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.")] = Path(
        "report.html"
    ),
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the dataset, where the root holds several.")
    ] = None,
) -> int:
    """Write one HTML file: what a run made of its photos, and why."""
    from flows.dashboard_data.report import report_of
    from storage.store import Store

    html = report_of(place, name)
    folder = output.absolute().parent
    Store(str(folder)).write_text(output.name, html)
    print(f"Report: {folder / output.name} ({len(html.encode()) / 1e6:.1f} MB)")
    return 0
