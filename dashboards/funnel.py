"""The funnel: per source and stage how many items came in, were kept, rejected for which reason, or failed."""

from collections.abc import Iterable

from rich.table import Table

from storage.report import PLURAL, WHOLE, StageReport


def funnel_table(reports: Iterable[StageReport], title: str) -> Table:
    """The funnel as a table for the terminal, one line per reason; a rule separates the sources."""
    table = Table(title=title, title_justify="left", pad_edge=False)
    for column in ("source", "stage", "items"):
        table.add_column(column, no_wrap=True)
    for column in ("in", "kept", "rejected", "failed"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("why not", no_wrap=True)
    shown_source = shown_stage = None
    # Sorting is stable, so the stages of a source keep their order.
    for report in sorted(reports, key=lambda report: (report.source == WHOLE, report.source)):
        if shown_source not in (None, report.source):
            table.add_section()
        for item in PLURAL:
            counts = report.counts.get(item)
            if counts is None or not counts.num_in:
                continue
            reasons = sorted({**counts.rejected, **counts.failed}.items(), key=lambda pair: -pair[1])
            table.add_row(
                report.source if report.source != shown_source else "",
                report.stage if (report.source, report.stage) != (shown_source, shown_stage) else "",
                PLURAL[item],
                *(
                    f"{n:,}" if n else ""
                    for n in (counts.num_in, counts.num_kept, counts.num_rejected, counts.num_failed)
                ),
                "\n".join(f"{num:,} {reason}" for reason, num in reasons),
            )
            shown_source, shown_stage = report.source, report.stage
    return table
