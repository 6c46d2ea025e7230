"""The funnel: per source and stage how many items came in, were kept, rejected for which reason, or failed."""

from collections.abc import Iterable

from rich.table import Table

from storage.report import PLURAL, WHOLE, StageReport

NUMBERS = ("in", "kept", "rejected", "failed")


def funnel_rows(reports: Iterable[StageReport]) -> list[dict[str, str | int]]:
    """One row per source, stage and kind of item; `why not` names the reasons, the most frequent one first."""
    rows: list[dict[str, str | int]] = []
    # Sorting is stable, so the stages of a source keep their order.
    for report in sorted(reports, key=lambda report: (report.source == WHOLE, report.source)):
        for item in PLURAL:
            counts = report.counts.get(item)
            if counts is None or not counts.num_in:
                continue
            reasons = sorted({**counts.rejected, **counts.failed}.items(), key=lambda pair: -pair[1])
            numbers = (counts.num_in, counts.num_kept, counts.num_rejected, counts.num_failed)
            rows.append(
                {
                    "source": report.source,
                    "stage": report.stage,
                    "items": PLURAL[item],
                    **dict(zip(NUMBERS, numbers, strict=True)),
                    "why not": ", ".join(f"{num:,} {reason}" for reason, num in reasons),
                }
            )
    return rows


def funnel_table(reports: Iterable[StageReport], title: str) -> Table:
    """The funnel as a table for the terminal, one line per reason; a rule separates the sources."""
    table = Table(title=title, title_justify="left", pad_edge=False)
    for column in ("source", "stage", "items"):
        table.add_column(column, no_wrap=True)
    for column in NUMBERS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("why not", no_wrap=True)
    shown_source = shown_stage = None
    for row in funnel_rows(reports):
        source, stage = row["source"], row["stage"]
        if shown_source not in (None, source):
            table.add_section()
        table.add_row(
            str(source) if source != shown_source else "",
            str(stage) if (source, stage) != (shown_source, shown_stage) else "",
            str(row["items"]),
            *(f"{row[name]:,}" if row[name] else "" for name in NUMBERS),
            str(row["why not"]).replace(", ", "\n"),
        )
        shown_source, shown_stage = source, stage
    return table
