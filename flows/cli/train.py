"""`persona train` and `persona retrain`: a snapshot becomes a model; a new snapshot becomes a better one."""

import argparse
import os

from flows.cli.arguments import Commands, add_config


def add(commands: Commands) -> None:
    """Add the commands of this file to the parser."""
    train = commands.add_parser("train", help="a snapshot becomes a version of a model")
    add_config(train, "configs/retrain.yaml, whose part `train` is read")
    train.add_argument("--snapshot", metavar="ID", help="below snapshots/; default: the newest of the dataset")
    train.set_defaults(run=_train)

    retrain = commands.add_parser("retrain", help="a new snapshot becomes a better model, or a reason why not")
    add_config(retrain, "configs/retrain.yaml")
    retrain.add_argument("--snapshot", metavar="ID", help="below snapshots/; default: the newest of the dataset")
    retrain.set_defaults(run=_retrain)


def _train(options: argparse.Namespace) -> int:
    from flows.retraining import RetrainConfig
    from storage.config_file import load_config

    job = load_config(RetrainConfig, options.config, options.assignments).train
    _let_training_speak()
    from flows.train import train

    print(f"{job.model}/{train(job, options.snapshot)}")
    return 0


def _retrain(options: argparse.Namespace) -> int:
    from flows.retraining import Outcome, RetrainConfig, due
    from storage.config_file import load_config

    config = load_config(RetrainConfig, options.config, options.assignments)
    outcome = due(config, options.snapshot)
    if not isinstance(outcome, Outcome):
        _let_training_speak()
        from flows.retrain import retrain  # Prefect takes seconds to import: only where there is work

        outcome = retrain(config, options.snapshot)
    print(f"{outcome.kind}: {outcome.reason}")
    return 0


def _let_training_speak() -> None:
    """Prefect is silenced for short commands; a training of days shows what it says."""
    if os.environ.get("PREFECT_LOGGING_LEVEL") == "CRITICAL":
        os.environ["PREFECT_LOGGING_LEVEL"] = "INFO"
