"""`persona curate`, `demo`, `funnel` and `calibrate`: annotated photos in, an explained snapshot out."""

import argparse
from pathlib import Path

from flows.cli.arguments import Commands, add_config


def add(commands: Commands) -> None:
    """Add the commands of this file to the parser."""
    curate = commands.add_parser("curate", help="annotated photos in, an explained snapshot out")
    add_config(curate, "configs/demo.yaml")
    curate.set_defaults(run=_curate)

    demo = commands.add_parser("demo", help="the same on a handful of photos that come with installed packages")
    demo.add_argument("--root", type=Path, default=Path("runs/demo"))
    demo.set_defaults(run=_demo)

    funnel = commands.add_parser("funnel", help="what became of everything, stage by stage")
    funnel.add_argument("root", metavar="ROOT")
    funnel.set_defaults(run=_funnel)

    calibrate = commands.add_parser("calibrate", help="what other limits would yield, from scores already made")
    add_config(calibrate, "configs/demo.yaml")
    calibrate.add_argument("--crops", type=int, metavar="N", help="find the limits that give about N crops")
    calibrate.set_defaults(run=_calibrate)


def _curate(options: argparse.Namespace) -> int:
    from flows.cli.show_curate import curate_and_show
    from flows.config import CurateConfig
    from storage.config_file import load_config

    return curate_and_show(load_config(CurateConfig, options.config, options.assignments))


def _demo(options: argparse.Namespace) -> int:
    from flows.cli.demo import demo_config
    from flows.cli.show_curate import curate_and_show

    return curate_and_show(demo_config(options.root))


def _funnel(options: argparse.Namespace) -> int:
    from flows.cli.show_curate import show_funnels

    return show_funnels(options.root)


def _calibrate(options: argparse.Namespace) -> int:
    from flows.cli.show_curate import show_calibration
    from flows.config import CurateConfig
    from storage.config_file import load_config

    return show_calibration(load_config(CurateConfig, options.config, options.assignments), options.crops)
