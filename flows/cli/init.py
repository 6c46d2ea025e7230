"""`persona init`: a configuration for the photos and annotations that lie in a folder."""

from pathlib import Path
from typing import Annotated

import typer

commands = typer.Typer()


@commands.command(rich_help_panel="Start", epilog="Example: persona init data/coco -o coco.yaml")
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="With photos and, if there are any, annotations.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="By default FOLDER's name with .yaml.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="ROOT", help="Where everything will be kept; by default runs/NAME.")
    ] = None,
) -> int:
    """Write a commented configuration for a folder of photos."""
    from flows.cli.write_config import write_config

    return write_config(folder, output, root)
