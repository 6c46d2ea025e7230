"""`persona curate`, `demo`, `funnel` and `calibrate`: annotated photos in, an explained snapshot out."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.arguments import Assignments, Config, Root

PANEL = "Dataset"
commands = typer.Typer()


@commands.command(rich_help_panel=PANEL, epilog="Example: persona curate mine.yaml --set select.top_share=0.5")
def curate(
    config: Config,
    assignments: Assignments = None,
    verify_inputs: Annotated[
        bool, typer.Option("--verify-inputs", help="Read every photo again, and make anew what stands on another one.")
    ] = False,
) -> int:
    """Make an explained snapshot of photos; run again, it goes on."""
    from flows.cli.show_curate import curate_and_show
    from flows.config import CurateConfig
    from storage.config_file import load_config

    more = ("run.verify_inputs=true",) if verify_inputs else ()
    return curate_and_show(load_config(CurateConfig, config, (*(assignments or ()), *more)))


@commands.command(rich_help_panel=PANEL, epilog="Example: persona demo runs/demo")
def demo(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Where everything is kept.")] = Path("runs/demo"),
) -> int:
    """Curate a few photos that come with installed packages."""
    from flows.checks import require, writable
    from flows.cli.demo import demo_config
    from flows.cli.show_curate import curate_and_show

    require([writable(str(root))])
    return curate_and_show(demo_config(root))


@commands.command(rich_help_panel=PANEL, epilog="Example: persona funnel runs/mine")
def funnel(root: Root) -> int:
    """Show what became of everything, stage by stage."""
    from flows.cli.show_curate import show_funnels

    return show_funnels(root)


@commands.command(rich_help_panel=PANEL, epilog="Example: persona calibrate mine.yaml --crops 100000")
def calibrate(
    config: Config,
    assignments: Assignments = None,
    crops: Annotated[
        int | None, typer.Option("--crops", metavar="N", help="Find the limits that give about N crops.")
    ] = None,
) -> int:
    """Show what other limits would yield, from what is known already."""
    from flows.cli.show_curate import show_calibration
    from flows.config import CurateConfig
    from storage.config_file import load_config

    return show_calibration(load_config(CurateConfig, config, assignments or ()), crops)
