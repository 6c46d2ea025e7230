"""What the command line shows: funnels, where pictures and snapshot lie, what other limits would yield."""

import sys
import time

from rich.console import Console
from rich.table import Table

from dashboards.funnel import funnel_table
from flows.config import CurateConfig
from flows.execution.runner import WorkLeftError
from flows.pipeline import already_curated, already_scored
from flows.server import check_server
from storage.config_file import ConfigError
from storage.reviews import standing_verdicts
from storage.run_record import list_run_records, read_run_record
from storage.store import Store
from tasks.metrics.iqa import lower_is_better
from tasks.select.calibrate import calibrate, calibration_rows, proposal_lines

console = Console(width=None if sys.stdout.isatty() else 110)  # a pipe has no width of its own


def curate_and_show(config: CurateConfig) -> int:
    """Run `curate`, or find that there is nothing to do; print the funnel and where to look next."""
    start = time.perf_counter()
    curated = already_curated(config)
    if curated is None:
        check_server()
        from flows.curate import curate  # Prefect takes seconds to import: only where there is work
        from flows.curate_artifacts import contact_sheet_path, report_path

        try:
            curated = curate(config)
        finally:
            show_funnel(Store(config.root), config.name)
        for words, path in (("Contact sheet", contact_sheet_path), ("Report", report_path)):
            console.print(f"{words}: {Store(config.root).full(path(config.name))}", soft_wrap=True)
    else:
        show_funnel(Store(config.root), config.name)
        console.print(f"Nothing to do: all of this was done before (found in {time.perf_counter() - start:.1f} s).")
    console.print(f"Snapshot: {Store(config.root).full(curated.snapshot.path)}", soft_wrap=True)
    return 0


def show_funnel(store: Store, name: str) -> None:
    """Print the funnel of a dataset as far as its last run came."""
    if name in list_run_records(store):
        console.print(funnel_table(read_run_record(store, name).reports, name))


def show_funnels(root: str) -> int:
    """Print the funnel of every dataset under a root.

    Raises:
        ConfigError: there is none.
    """
    store = Store(root)
    names = list_run_records(store)
    if not names:
        raise ConfigError(f"there is no run under {root}: give the root of a configuration that was curated")
    for name in names:
        show_funnel(store, name)
    return 0


def show_calibration(config: CurateConfig, wanted: int | None) -> int:
    """Print what other limits would yield, and the limits for a wanted number of crops.

    Raises:
        ConfigError: the crops are not scored yet.
    """
    try:
        scored = already_scored(config)
    except WorkLeftError as error:
        raise ConfigError(
            f"{config.name} is not scored yet (stage {error} is not done): run `persona curate` first"
        ) from error
    directions = {metric: lower_is_better(metric) for metric in config.score.metrics}
    calibration = calibrate(scored, directions, config.select, wanted, standing_verdicts(Store(config.root)))
    heading, *rows = calibration_rows(calibration)
    table = Table(title="crops kept: alone / together with everything else as configured", title_justify="left")
    for i, name in enumerate(heading):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    shown = None
    for row in rows:
        if shown not in (None, row[0]):
            table.add_section()
        table.add_row(row[0] if row[0] != shown else "", *row[1:])
        shown = row[0]
    console.print(table)
    if calibration.proposal is not None:
        console.print("\n".join(proposal_lines(calibration.proposal, config.select)), markup=False, highlight=False)
    return 0
