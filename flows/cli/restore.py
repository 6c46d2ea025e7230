"""`persona restore`: restore photos with a trained model."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.arguments import KEPT_IN, RootOption
from model.network.weights import Device

commands = typer.Typer()


@commands.command(
    rich_help_panel="Model",
    epilog="Example: persona restore photos/ -o restored --checkpoint osdhuman@production --root runs/mine",
)
def restore(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Files, folders, or patterns such as 'photos/*.jpg'.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="For PNGs and a report.")],
    checkpoint: Annotated[str, typer.Option(metavar="MODEL", help="A model folder, or name@alias.")],
    root: RootOption = KEPT_IN,
    upscale: Annotated[float, typer.Option(metavar="N", help="Enlarge N times as well.")] = 1.0,
    colour: Annotated[
        Literal["none", "wavelet", "adain"], typer.Option(help="How the photo's colours are kept.")
    ] = "none",
    batch_size: Annotated[int, typer.Option(metavar="N", help="Photos of one size at a time.")] = 1,
    tile: Annotated[int, typer.Option(metavar="PX", help="Larger photos are cut into such tiles.")] = 1024,
    dtype: Annotated[Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Precision of the network.")] = "auto",
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = "auto",
) -> int:
    """Restore photos of any size with a trained model."""
    folder = _model_folder(checkpoint, root)  # before the seconds that the imports take
    from rich.console import Console

    from flows.cli.show_restored import show_restored
    from flows.execution.progress import progress_bar
    from model.model_folder import ABOUT
    from model.restoration.restore import RestoreConfig, Restorer
    from storage.config_file import validated
    from storage.digest import sha256_of_file
    from tasks.restore.find_pictures import find_pictures
    from tasks.restore.restore_files import REPORT, restore_files

    found = find_pictures(inputs, out)
    values = {"upscale": upscale, "colour": colour, "batch_size": batch_size}
    values |= {"tile_px": tile, "overlap_px": tile // 4}
    config = validated(RestoreConfig, values, "persona restore")
    restorer = Restorer.load(folder, device, dtype, config)
    about = {"checkpoint": checkpoint, "model": str(folder)}
    console = Console()
    try:
        with progress_bar(console, "restore", len(found.jobs)) as on_progress:
            report = restore_files(found, out, restorer, sha256_of_file(folder / ABOUT), about, on_progress)
    finally:  # also where somebody stops it: what is done until then is kept
        if (out / REPORT).is_file():
            show_restored(console, json.loads((out / REPORT).read_text()), out)
    return 1 if report["num_failed"] else 0


def _model_folder(checkpoint: str, root: str) -> Path:
    """The folder that a path or a registered name stands for."""
    from storage.registry import Registry
    from storage.store import Store

    folder = Path(checkpoint)
    return folder if folder.is_dir() else Registry(Store(root)).resolve(checkpoint)
