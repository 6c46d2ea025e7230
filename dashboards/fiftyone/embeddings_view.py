"""The App's panel Embeddings: crops that look alike lie together, so a lasso catches a whole kind of them."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dashboards.fiftyone.app import FiftyOne

BRAIN_KEY = "looks_alike"


def show_embeddings(fo: FiftyOne, name: str, embeddings: Mapping[str, np.ndarray]) -> None:
    """Lay the crops of a dataset out by their embeddings, in place of what was laid out before.

    Args:
        fo: the module.
        name: of the dataset of crops.
        embeddings: crop id → (D,) vector, for two crops of the dataset or more.
    """
    dataset = fo.load_dataset(name)
    ids = dict(zip(*dataset.values(["crop_id", "id"]), strict=True))
    shown = sorted(embeddings.keys() & ids.keys())
    points = two_principal_components(np.stack([embeddings[crop_id] for crop_id in shown]))
    if BRAIN_KEY in dataset.list_brain_runs():
        dataset.delete_brain_run(BRAIN_KEY)
    brain: Any = importlib.import_module("fiftyone.brain")
    view = dataset.select([ids[crop_id] for crop_id in shown], ordered=True)
    brain.compute_visualization(view, points=points, brain_key=BRAIN_KEY, method="manual")


def two_principal_components(vectors: np.ndarray) -> np.ndarray:
    """(N, 2) coordinates of (N, D) vectors along the directions in which they differ most."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    # The sign of a direction is arbitrary: its largest part is made positive, so that a second build looks the same.
    sign = np.sign(right[np.arange(2), np.abs(right[:2]).argmax(axis=1)])
    return left[:, :2] * singular[:2] * sign
