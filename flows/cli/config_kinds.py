"""The kinds of configuration that the command line knows by name; no module of theirs is imported unasked."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.frozen import Frozen

KINDS: dict[str, tuple[str, str]] = {
    # module and name of each; `train` is that of `python -m model.train`
    "curate": ("flows.config", "CurateConfig"),
    "persona-val": ("flows.judging", "PersonaValConfig"),
    "persona-test": ("flows.persona_test_set", "PersonaTestConfig"),
    "retrain": ("flows.retraining", "RetrainConfig"),
    "train": ("model.training.train_config", "TrainConfig"),
}


def model_of(kind: str) -> "type[Frozen]":
    """The model behind a kind of configuration."""
    module, name = KINDS[kind]
    model: type[Frozen] = getattr(importlib.import_module(module), name)
    return model
