"""`persona train` and `persona retrain`: a snapshot becomes a model; a new snapshot becomes a better one."""

import logging
import os
from typing import Annotated

import typer

from flows.cli.arguments import Assignments, Config, find_snapshot

PANEL = "Model"
commands = typer.Typer()

SnapshotOption = Annotated[
    str | None,
    typer.Option(
        "--snapshot", metavar="SNAPSHOT", help="Folder or id of a snapshot below the root; by default the newest."
    ),
]


@commands.command(
    rich_help_panel=PANEL, epilog="Example: persona train configs/retrain.yaml --set train.root=runs/mine"
)
def train(config: Config, assignments: Assignments = None, snapshot: SnapshotOption = None) -> int:
    """Train a version of a model on a snapshot."""
    from flows.retraining import RetrainConfig
    from storage.config_file import load_config

    job = load_config(RetrainConfig, config, assignments or ()).train
    snapshot_id = _id_below(job.root, snapshot)
    _prepare_training()
    from flows.train import train

    print(f"{job.model}/{train(job, snapshot_id)}")
    return 0


@commands.command(rich_help_panel=PANEL, epilog="Example: persona retrain configs/retrain.yaml")
def retrain(config: Config, assignments: Assignments = None, snapshot: SnapshotOption = None) -> int:
    """Make a better model of a new snapshot, or tell why not."""
    from flows.retraining import Outcome, RetrainConfig, due
    from storage.config_file import load_config

    settings = load_config(RetrainConfig, config, assignments or ())
    snapshot_id = _id_below(settings.train.root, snapshot)
    outcome = due(settings, snapshot_id)
    if not isinstance(outcome, Outcome):
        _prepare_training()
        from flows.retrain import retrain  # Prefect takes seconds to import: only where there is work

        outcome = retrain(settings, snapshot_id)
    print(f"{outcome.kind}: {outcome.reason}")
    return 0


def _id_below(root: str, snapshot: str | None) -> str | None:
    """The id of a snapshot that is trained on, which has to lie below the root: its crops are found from there."""
    from storage.errors import InputError
    from storage.store import Store

    if snapshot is None:
        return None
    found = find_snapshot(snapshot, root)
    if found.store.full("") != Store(root).full(""):
        raise InputError(f"{snapshot} does not lie below {root}, where this configuration trains: set train.root")
    return found.id


def _prepare_training() -> None:
    """A training of days shows what it says, though Prefect is silenced for short commands."""
    if os.environ.get("PREFECT_LOGGING_LEVEL") == "CRITICAL":
        os.environ["PREFECT_LOGGING_LEVEL"] = "INFO"
    logging.basicConfig(format="%(asctime)s | %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("persona").setLevel(logging.INFO)
    from flows.server import check_server

    check_server()
