"""`persona evaluate`: what a model's pictures are worth, beside the published table."""

import argparse
from pathlib import Path

from flows.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the commands of this file to the parser."""
    evaluate = commands.add_parser("evaluate", help="judge a model, a folder of restored pictures, or LQ itself")
    what = evaluate.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", metavar="A", help="a model folder, or a model of the registry: name@alias")
    what.add_argument("--restored", metavar="FOLDER", help="PNGs called CROP_ID.png, made by any other program")
    what.add_argument("--lq", action="store_true", help="the pictures as they are: the baseline")
    evaluate.add_argument("--against", metavar="B", help="compare A with a model, a folder of PNGs, or lq")
    where = evaluate.add_mutually_exclusive_group(required=True)
    where.add_argument("--snapshot", type=Path, metavar="S", help="judge on its PERSONA-Val, built where it is missing")
    where.add_argument("--benchmark", type=Path, metavar="FOLDER", help="judge on this benchmark")
    evaluate.add_argument("--metrics", metavar="A,B", help="pyiqa's names (default: the paper's nine)")
    evaluate.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    evaluate.add_argument("--strict", action="store_true", help="stop where the weights of a metric are missing")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from flows.cli.show_judging import LQ, evaluate_and_show
    from flows.judging import persona_val
    from storage.config_file import validated
    from tasks.evaluate.evaluate import EvaluateConfig

    values = {"device": options.device}
    if options.metrics:
        values["metrics"] = options.metrics.split(",")
    config = validated(EvaluateConfig, values, "arguments")
    benchmark = options.benchmark or persona_val(options.snapshot)
    a = LQ if options.lq else options.checkpoint or options.restored
    return evaluate_and_show(a, options.against, benchmark, config, strict=options.strict)
