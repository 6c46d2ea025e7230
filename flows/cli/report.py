"""`persona report`: one HTML file that tells what a run made of its photos."""

import argparse
from pathlib import Path

from flows.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command of this file to the parser."""
    report = commands.add_parser("report", help="one HTML file: what a run made of its photos, and why")
    report.add_argument("place", metavar="ROOT|SNAPSHOT", help="folder or address of a curated root or of a snapshot")
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE")
    report.add_argument("--name", help="of the dataset, where the root holds several")
    report.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from flows.dashboard_data.report import report_of
    from storage.store import Store

    html = report_of(options.place, options.name)
    folder = options.output.absolute().parent
    Store(str(folder)).write_text(options.output.name, html)
    print(f"Report: {folder / options.output.name} ({len(html.encode()) / 1e6:.1f} MB)")
    return 0
