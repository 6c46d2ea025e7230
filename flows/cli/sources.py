"""`persona sources`: where the datasets are published, and what to write into a configuration for them."""

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
