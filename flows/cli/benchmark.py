"""`persona benchmark`: the pictures that models are judged on."""

import argparse

from flows.cli.arguments import Commands, add_config


def add(commands: Commands) -> None:
    """Add the commands of this file to the parser."""
    benchmark = commands.add_parser("benchmark", help="make the pictures that models are judged on")
    verbs = benchmark.add_subparsers(dest="verb", required=True, metavar="VERB")

    val = verbs.add_parser("val", help="the val split of a snapshot, degraded once: PERSONA-Val")
    add_config(val, "configs/persona-val.yaml")
    val.set_defaults(run=_val)

    test = verbs.add_parser("test", help="real crops of low quality, unlike anything in train: PERSONA-Test")
    add_config(test, "configs/persona-test.yaml")
    test.set_defaults(run=_test)


def _val(options: argparse.Namespace) -> int:
    from flows.cli.show_judging import persona_val_and_show
    from flows.judging import PersonaValConfig
    from storage.config_file import load_config

    return persona_val_and_show(load_config(PersonaValConfig, options.config, options.assignments))


def _test(options: argparse.Namespace) -> int:
    from flows.cli.show_judging import persona_test_and_show
    from flows.persona_test_set import PersonaTestConfig
    from storage.config_file import load_config

    return persona_test_and_show(load_config(PersonaTestConfig, options.config, options.assignments))
