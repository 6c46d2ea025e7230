"""`persona restore`: restore photos with a trained model."""

import argparse
from pathlib import Path

from flows.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the commands of this file to the parser."""
    restore = commands.add_parser("restore", help="restore photos of any size with a trained model")
    restore.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder, or pattern such as 'photos/*.jpg'")
    restore.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="for PNGs and a report")
    restore.add_argument("--checkpoint", required=True, metavar="MODEL", help="model folder, or name@alias")
    restore.add_argument("--root", default="data/persona", help="whose models have names (default: %(default)s)")
    restore.add_argument("--upscale", type=float, default=1.0, metavar="N", help="enlarge N times as well")
    restore.add_argument("--colour", choices=["none", "wavelet", "adain"], default="none", help="keep the photo's")
    restore.add_argument("--batch-size", type=int, default=1, metavar="N", help="photos of one size at a time")
    restore.add_argument("--tile", type=int, default=1024, metavar="PX", help="larger photos are cut into such tiles")
    restore.add_argument("--dtype", choices=["auto", "fp32", "bf16", "fp16"], default="auto")
    restore.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    restore.set_defaults(run=_restore)


def _restore(options: argparse.Namespace) -> int:
    folder = _model_folder(options.checkpoint, options.root)  # before the seconds that the imports take
    from rich.console import Console

    from flows.cli.show_restored import show_restored
    from flows.execution.progress import progress_bar
    from model.restoration.restore import RestoreConfig, Restorer
    from model.restoration.restore_files import find_jobs, restore_files
    from storage.config_file import validated

    jobs = find_jobs(options.inputs, options.out)
    values = {"upscale": options.upscale, "colour": options.colour, "batch_size": options.batch_size}
    values |= {"tile_px": options.tile, "overlap_px": options.tile // 4}
    config = validated(RestoreConfig, values, "persona restore")
    restorer = Restorer.load(folder, options.device, options.dtype, config)
    about = {"checkpoint": options.checkpoint, "model": str(folder)}
    console = Console()
    with progress_bar(console, "restore", len(jobs)) as on_progress:
        report = restore_files(jobs, options.out, restorer, about, on_progress)
    show_restored(console, report, options.out)
    return 1 if report["num_failed"] else 0


def _model_folder(checkpoint: str, root: str) -> Path:
    """The folder that a path or a registered name stands for."""
    from storage.registry import Registry
    from storage.store import Store

    folder = Path(checkpoint)
    return folder if folder.is_dir() else Registry(Store(root)).resolve(checkpoint)
