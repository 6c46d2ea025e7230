"""`persona config`: which keys there are, and what a configuration comes to with its defaults."""

from typing import Annotated, Literal

import typer

from flows.cli.arguments import Assignments, Config, group
from flows.cli.config_kinds import KINDS

commands = typer.Typer()
config = group("Show the keys of a configuration, or what one comes to.")
commands.add_typer(config, name="config", rich_help_panel="Start")

Kind = Literal["curate", "persona-val", "persona-test", "retrain", "train"]


@config.command(epilog="Example: persona config schema | grep -A1 crop")
def schema(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=f"Of what: {', '.join(KINDS)}.")] = "curate",
    as_json: Annotated[
        bool, typer.Option("--json", help="As a JSON schema, with which editors complete keys.")
    ] = False,
) -> int:
    """List every key as `--set` takes it: default, values, and a sentence."""
    from flows.cli.show_config import show_schema

    return show_schema(kind, as_json)


@config.command(epilog="Example: persona config show mine.yaml --set select.top_share=0.5")
def show(
    config: Config,
    assignments: Assignments = None,
    kind: Annotated[Kind, typer.Option(metavar="KIND", help=f"Of what: {', '.join(KINDS)}.")] = "curate",
) -> int:
    """Show a whole configuration as a run would use it, defaults marked."""
    from flows.cli.show_config import show_config

    return show_config(kind, config, assignments or ())
