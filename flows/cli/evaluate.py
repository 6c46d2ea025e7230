"""`persona evaluate`: what a model's pictures are worth, beside the published table."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.arguments import KEPT_IN, RootOption, find_snapshot
from model.network.weights import Device, Precision
from storage.errors import InputError

commands = typer.Typer()


@commands.command(
    rich_help_panel="Model",
    epilog="Example: persona evaluate --checkpoint osdhuman@candidate --against osdhuman@production --snapshot mine-…",
)
def evaluate(
    checkpoint: Annotated[
        str | None, typer.Option(metavar="A", help="A model folder, or a model of the registry: name@alias.")
    ] = None,
    restored: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Pictures with CROP_ID in their names, made by any program.")
    ] = None,
    lq: Annotated[bool, typer.Option("--lq", help="The pictures as they are: the baseline.")] = False,
    hq: Annotated[bool, typer.Option("--hq", help="The originals: what the metrics say of the truth.")] = False,
    against: Annotated[
        str | None, typer.Option(metavar="B", help="Compare A with a model, a folder of pictures, lq or hq.")
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(
            metavar="SNAPSHOT", help="Judge on its PERSONA-Val, built where it is missing: a folder or an id."
        ),
    ] = None,
    benchmark: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Judge on this benchmark.")] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="A,B", help="pyiqa's names; by default the paper's nine and consistency.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the networks run.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="In which a model restores.")] = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="Stop where the weights of a metric are missing.")] = False,
    root: RootOption = KEPT_IN,
) -> int:
    """Judge a model, a folder of restored pictures, or LQ itself."""
    _exactly_one(checkpoint=checkpoint, restored=restored, lq=lq, hq=hq)
    _exactly_one(snapshot=snapshot, benchmark=benchmark)
    from flows.cli.show_judging import HQ, LQ, evaluate_and_show
    from flows.judging import persona_val
    from storage.config_file import validated
    from tasks.evaluate.evaluate import EvaluateConfig

    values: dict[str, object] = {"device": device, "precision": precision}
    if metrics:
        values["metrics"] = metrics.split(",")
    config = validated(EvaluateConfig, values, "arguments")
    if snapshot:
        found = find_snapshot(snapshot, root)
        benchmark = persona_val(found.store.local(found.path))
    assert benchmark  # by _exactly_one
    a = LQ if lq else HQ if hq else checkpoint or restored or ""
    return evaluate_and_show(a, against, benchmark, config, strict=strict)


def _exactly_one(**given: object) -> None:
    if sum(bool(value) for value in given.values()) != 1:
        raise InputError(f"give exactly one of {', '.join(f'--{name}' for name in given)}")
