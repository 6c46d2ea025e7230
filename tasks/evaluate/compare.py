"""Two evaluations on the same pictures: how much A differs from B, picture by picture, and how sure that is."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.digest import digest
from storage.errors import InputError
from storage.evaluation import Comparison, Difference, Evaluation
from storage.parquet import open_parquet
from storage.store import Store
from tasks.evaluate.evaluate import PER_IMAGE, EvaluateConfig
from tasks.metrics.bootstrap import interval_of

VERSION = 2


def compare(store: Store, a: Evaluation, b: Evaluation, config: EvaluateConfig) -> Comparison:
    """A minus B for every metric that both have; paired, so only pictures with a value of both count.

    The interval is the bootstrap's over the differences. FID has no value per picture and so no interval, and neither
    has a difference of fewer than MIN_VALUES pictures.

    Args:
        store: the root below which both evaluations lie.
        a: one of them.
        b: the other.
        config: number and seed of the bootstrap's draws.

    Raises:
        ValueError: they judged different benchmarks.
    """
    if a.benchmark.digest != b.benchmark.digest:
        raise InputError(
            f"{a.id} was judged on {a.benchmark.id}, {b.id} on {b.benchmark.id}: judge both on one of them"
        )
    values_a, values_b = per_image(store, a), per_image(store, b)
    at = pc.index_in(values_a["crop_id"], values_b["crop_id"].combine_chunks())
    values_b = values_b.take(at)
    differences = {}
    for metric in (name for name, result in a.metrics.items() if result.unavailable is None and name in b.metrics):
        if b.metrics[metric].unavailable is None:
            differences[metric] = (
                _paired(metric, values_a, values_b, a, config)
                if metric in values_a.column_names
                else _unpaired(metric, a, b)
            )
    key = digest("compare", VERSION, a.id, b.id, config.num_resamples, config.seed)
    found = {metric: difference for metric, difference in differences.items() if difference is not None}
    return Comparison(id=key, a=a.id, b=b.id, benchmark=a.benchmark, differences=found)


def per_image(store: Store, evaluation: Evaluation) -> pa.Table:
    """Every value of an evaluation: crop_id, source, failure, and a column per metric."""
    with open_parquet(store, f"{evaluation.path}/{PER_IMAGE}", "delete the folder, and evaluate again") as parquet:
        return parquet.read()


def _paired(metric: str, a: pa.Table, b: pa.Table, about: Evaluation, config: EvaluateConfig) -> Difference | None:
    differences = pc.subtract(a[metric], b[metric]).drop_null().to_numpy()
    if not len(differences):
        return None
    low, high = interval_of(differences, config.num_resamples, config.seed)
    return Difference(
        lower_is_better=about.metrics[metric].lower_is_better,
        mean=float(np.mean(differences)),
        low=low,
        high=high,
        num=len(differences),
    )


def _unpaired(metric: str, a: Evaluation, b: Evaluation) -> Difference | None:
    of_a, of_b = a.metrics[metric], b.metrics[metric]
    if of_a.mean is None or of_b.mean is None:
        return None
    return Difference(lower_is_better=of_a.lower_is_better, mean=of_a.mean - of_b.mean, num=min(of_a.num, of_b.num))
