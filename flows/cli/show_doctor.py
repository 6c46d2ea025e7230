"""What `persona doctor` shows."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.checks import Finding, lacking

console = Console(width=None if sys.stdout.isatty() else 110)  # a pipe has no width of its own


def show_findings(findings: Sequence[Finding]) -> None:
    """Print a line for each, what is needed and lacks marked, its remedy below it."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in findings:
        mark = Text("ok", "green") if not finding.remedy else Text("needed", "red") if finding.needed else Text("-")
        table.add_row(mark, Text(finding.what), Text(finding.found))
        if finding.remedy:
            table.add_row("", "", Text(f"→ {finding.remedy}", "cyan"))
    console.print(table)
    num = len(lacking(findings))
    console.print("Nothing that is needed is missing." if not num else f"{num} of what is needed is missing.")
