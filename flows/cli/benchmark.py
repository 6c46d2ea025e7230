"""`persona benchmark`: the pictures that models are judged on."""

import typer

from flows.cli.arguments import Assignments, Config, group

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
