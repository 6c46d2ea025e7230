"""What became of the inputs of a restoration, in the terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.restore.restore_files import REPORT


def show_restored(console: Console, report: dict[str, Any], out: Path) -> None:
    """Counts, how many were worked on in tiles, and every input that failed."""
    failed = [row for row in report["pictures"] if row["reason"]]
    if failed:
        table = Table("input", "reason", "detail", title="not restored")
        for row in failed:
            table.add_row(Text(row["input"]), str(row["reason"]), Text(row["detail"]))
        console.print(table)
    num_tiled = sum(bool(row["tiled"]) for row in report["pictures"] if not row["reason"])
    before = f" ({report['num_restored_before']} by an earlier run)" if report["num_restored_before"] else ""
    not_reached = f" + {report['num_not_reached']} not reached" if report["num_not_reached"] else ""
    passed_over = f"; {report['num_passed_over']} other files passed over" if report["num_passed_over"] else ""
    console.print(
        f"{report['num_in']} in = {report['num_restored']} restored{before} + {report['num_failed']} failed"
        f"{not_reached}; {num_tiled} in tiles{passed_over}; see {out / REPORT}",
        soft_wrap=True,
    )
