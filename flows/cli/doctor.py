"""`persona doctor`: what this machine has of what is needed, on one screen, each with its remedy."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.arguments import Assignments

commands = typer.Typer()


@commands.command(rich_help_panel="Start", epilog="Example: persona doctor mine.yaml")
def doctor(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="Look at what this configuration needs as well.")
    ] = None,
    assignments: Assignments = None,
) -> int:
    """Look at what this machine has, and tell what is missing."""
    from flows.checks import lacking, machine
    from flows.cli.show_doctor import show_findings
    from flows.config import CurateConfig
    from storage.config_file import load_config

    findings = list(machine(load_config(CurateConfig, config, assignments or ()) if config else None))
    show_findings(findings)
    return 1 if lacking(findings) else 0
