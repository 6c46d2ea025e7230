"""What the command line shows: funnels, where pictures and snapshot lie, what other limits would yield."""

import sys
import time

from rich.console import Console
from rich.table import Table

from dashboards.funnel import funnel_table
from flows.checks import boxed, preflight, require, writable
from flows.config import CurateConfig
from flows.execution.runner import WorkLeftError
from flows.pipeline import already_curated, already_scored
from flows.run_outputs import contact_sheet_path, is_complete, report_path
from storage.config_file import ConfigError
from storage.reviews import standing_verdicts
from storage.run_record import list_run_records, read_run_record, run_record_path
from storage.shard import Shard
from storage.store import Store
from tasks.crop.calibrate import blur_rows, calibrate_crop, size_rows
from tasks.metrics.iqa import lower_is_better
from tasks.select.calibrate import calibrate, calibration_rows, proposal_lines

console = Console(width=None if sys.stdout.isatty() else 110)  # a pipe has no width of its own


def curate_and_show(config: CurateConfig) -> int:
    """Run `curate`, or find that there is nothing to do; print the funnel and where to look next."""
    start = time.perf_counter()
    if "://" in config.root:  # its client tries for minutes before it says that a bucket is away
        require([writable(config.root)])
    curated = already_curated(config)
    if curated is None or not is_complete(Store(config.root), config.name, curated.snapshot):
        preflight(config)
        from flows.curate import curate  # Prefect takes seconds to import: only where there is work

        before = _written_at(Store(config.root), config.name)
        try:
            curated = curate(config)
        finally:
            if _written_at(Store(config.root), config.name) != before:
                show_funnel(Store(config.root), config.name)
        for words, path in (("Contact sheet", contact_sheet_path), ("Report", report_path)):
            console.print(f"{words}: {Store(config.root).full(path(config.name))}", soft_wrap=True)
    else:
        show_funnel(Store(config.root), config.name)
        console.print(f"Nothing to do: all of this was done before (found in {time.perf_counter() - start:.1f} s).")
    console.print(f"Snapshot: {Store(config.root).full(curated.snapshot.path)}", soft_wrap=True)
    return 0


def _written_at(store: Store, name: str) -> int | None:
    """When the record of a run was last written: a run that fails early must not show that of the run before."""
    return store.filesystem.get_file_info(store.full(run_record_path(name))).mtime_ns


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
    """Print what other limits of crop and select would yield, and the limits for a wanted number of crops.

    Raises:
        ConfigError: no run has read the boxes yet, or crops are wanted and not scored yet.
    """
    store = Store(config.root)
    if config.name not in list_run_records(store):
        raise ConfigError(f"no run of {config.name} has read its annotations yet: run `persona curate` first")
    _show_crop_limits(store, config)
    try:
        scored = already_scored(config)
    except WorkLeftError as error:
        words = f"{config.name} is not scored yet (stage {error} is not done): run `persona curate` first"
        if wanted is not None:
            raise ConfigError(words) from error
        console.print(words)
        return 0
    directions = {metric: lower_is_better(metric) for metric in config.score.metrics}
    calibration = calibrate(scored, directions, config.select, wanted, standing_verdicts(store))
    _show_rows("Limits of select: crops kept alone / together with everything else", calibration_rows(calibration))
    if calibration.proposal is not None:
        console.print("\n".join(proposal_lines(calibration.proposal, config.select)), markup=False, highlight=False)
    return 0


def _show_crop_limits(store: Store, config: CurateConfig) -> None:
    """What other limits would cut out of the boxes that the last run read."""
    shards = read_run_record(store, config.name).shards
    boxes = [Shard.named(store, name) for name in boxed(shards)]
    found = calibrate_crop(boxes, [Shard.named(store, name) for name in shards.get("crop", [])], config.crop)
    about = f" (estimated from {found.num_read:,} of {found.num_photos:,} photos)" if found.is_estimate else ""
    _show_rows(f"Limits of crop: crops cut out with everything else as configured{about}", size_rows(found))
    _show_rows("", blur_rows(found))
    console.print(f"As configured: {found.configured:,} crops of {found.num_photos:,} photos with people.")
    if found.num_unopened:
        console.print(f"{found.num_unopened:,} of these photos were never opened and count as sharp.")


def _show_rows(title: str, rows: list[list[str]]) -> None:
    heading, *lines = rows
    if title:
        console.print(title)
    table = Table()
    for i, name in enumerate(heading):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    shown = None
    for line in lines:
        if shown not in (None, line[0]) and len(lines) > 10:
            table.add_section()
        table.add_row(line[0] if line[0] != shown else "", *line[1:])
        shown = line[0]
    console.print(table)
