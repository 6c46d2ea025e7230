"""`persona sources` and `fetch`: where the datasets are published, and photos from a list of addresses."""

from pathlib import Path
from typing import Annotated

import typer

commands = typer.Typer()


@commands.command(rich_help_panel="Dataset", epilog="Example: persona sources objects365")
def sources(
    name: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="One dataset; all where none is named.")
    ] = None,
) -> int:
    """Show where the datasets are published, under which licence, and how a configuration names them."""
    from storage.errors import InputError
    from tasks.sources.datasets import DATASETS

    names = [dataset.name for dataset in DATASETS]
    if name is not None and name not in names:
        raise InputError(f"{name} is none of {', '.join(names)}")
    for dataset in DATASETS:
        if name in (None, dataset.name):
            print(f"{dataset.name}\n  page      {dataset.page}\n  licence   {dataset.licence}")
            for address in dataset.archives:
                print(f"  archive   {address}")
            for checksum in dataset.checksums:
                print(f"  checksum  {checksum}")
            print(f"  layout    {dataset.layout}\n  seen in   {dataset.seen_in}\n  write     sources:")
            for number, line in enumerate(dataset.configuration.splitlines()):
                print(f"              {'  ' if number else '- '}{line}")
            print()
    return 0


@commands.command(rich_help_panel="Dataset", epilog="Example: persona fetch addresses.csv data/web --column photo_url")
def fetch(
    addresses: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV or Parquet file.")],
    folder: Annotated[Path, typer.Argument(help="Where the photos come.")],
    column: Annotated[str, typer.Option(help="Column of the addresses.")] = "url",
    per_host: Annotated[float, typer.Option(min=0.01, help="Requests per second to one host, at most.")] = 2.0,
) -> int:
    """Fetch photos from a list of addresses; run again, it goes on."""
    from rich.console import Console

    from flows.execution.progress import progress_bar
    from storage.errors import ExitCode
    from tasks.sources.fetch import TRIES, FetchConfig
    from tasks.sources.fetch import fetch as fetch_photos

    with progress_bar(Console(stderr=True), "fetch", None) as advance:
        counts = fetch_photos(FetchConfig(addresses, folder, column, per_host), advance)
    print(f"{counts.total():,} addresses: {', '.join(f'{num:,} {how}' for how, num in sorted(counts.items()))}")
    print(f"Every try has a row in {folder / TRIES}")
    return ExitCode.NOT_IN_ORDER if counts["failed"] else ExitCode.SUCCESS
