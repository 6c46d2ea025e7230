"""`persona benchmark`: the pictures that models are judged on."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.arguments import KEPT_IN, Assignments, Config, RootOption, group

commands = typer.Typer()
benchmark = group("Make the pictures that models are judged on.")
commands.add_typer(benchmark, name="benchmark", rich_help_panel="Model")


@benchmark.command(
    epilog="Example: persona benchmark val configs/persona-val.yaml --set snapshot=runs/mine/snapshots/…"
)
def val(config: Config, assignments: Assignments = None) -> int:
    """Degrade the val split of a snapshot once: PERSONA-Val."""
    from flows.cli.show_judging import persona_val_and_show
    from flows.judging import PersonaValConfig
    from storage.config_file import load_config

    return persona_val_and_show(load_config(PersonaValConfig, config, assignments or ()))


@benchmark.command(epilog="Example: persona benchmark test configs/persona-test.yaml")
def test(config: Config, assignments: Assignments = None) -> int:
    """Draw real crops of low quality, unlike anything in train: PERSONA-Test."""
    from flows.cli.show_judging import persona_test_and_show
    from flows.persona_test_set import PersonaTestConfig
    from storage.config_file import load_config

    return persona_test_and_show(load_config(PersonaTestConfig, config, assignments or ()))


@benchmark.command(
    name="import", epilog="Example: persona benchmark import --hq Val/HQ --lq Val/LQ --published persona-val"
)
def import_pictures(
    lq: Annotated[Path, typer.Option(metavar="FOLDER", help="The pictures of low quality.")],
    hq: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Their originals, of the same names.")] = None,
    name: Annotated[str | None, typer.Option(help="First part of its name; by default the published set's.")] = None,
    published: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="The set that it is, whose published rows then stand beside yours: persona-val (LQ of OSDHuman),"
            " persona-val-haodiff (LQ of HAODiff), persona-test or mpii-test.",
        ),
    ] = None,
    root: RootOption = KEPT_IN,
) -> int:
    """Take over pictures that others published: PERSONA-Val, PERSONA-Test, MPII-Test or your own."""
    from flows.cli.show_judging import import_and_show

    return import_and_show(root, name or published or "imported", lq, hq, published)
