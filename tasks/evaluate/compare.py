"""Two evaluations on the same pictures: how much A differs from B, picture by picture, and how sure that is."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.digest import digest
from storage.errors import InputError
from storage.evaluation import Comparison, Difference, Disagreement, Evaluation
from storage.parquet import open_parquet
from storage.store import Store
from tasks.evaluate.evaluate import PER_IMAGE, EvaluateConfig
from tasks.metrics.bootstrap import interval_of

VERSION = 3


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
        ValueError: they judged different benchmarks, or on different devices or in different precisions, which alone
            move the values.
    """
    if a.benchmark.digest != b.benchmark.digest:
        raise InputError(
            f"{a.id} was judged on {a.benchmark.id}, {b.id} on {b.benchmark.id}: judge both on one of them"
        )
    for what, of_a, of_b in (("on device", a.device, b.device), ("in precision", a.precision, b.precision)):
        if of_a != of_b and not (what == "in precision" and None in (of_a, of_b)):
            raise InputError(f"{a.id} was judged {what} {of_a}, {b.id} {what} {of_b}: judge both alike, then compare")
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
    apart = tuple(_disagreements(found, values_a, values_b))
    return Comparison(id=key, a=a.id, b=b.id, benchmark=a.benchmark, differences=found, disagreements=apart)


def _disagreements(found: dict[str, Difference], a: pa.Table, b: pa.Table) -> Iterator[Disagreement]:
    """Pairs of metrics with values of single pictures whose means put A and B in different orders."""
    signs = {
        metric: np.sign(pc.subtract(a[metric], b[metric]).to_numpy(zero_copy_only=False))
        * (-1 if difference.lower_is_better else 1)
        for metric, difference in found.items()
        if metric in a.column_names
    }
    for_a = [metric for metric in signs if _says_a(found[metric])]
    for_b = [metric for metric in signs if found[metric].mean and not _says_a(found[metric])]
    for one, other in product(for_a, for_b):
        both = signs[one] * signs[other]  # NaN where one has no value, 0 where one is undecided
        decided = int(np.count_nonzero(np.abs(both) == 1))
        if decided:
            yield Disagreement(
                for_a=one,
                for_b=other,
                certain=(found[one].better, found[other].better) == ("a", "b"),
                share=float(np.count_nonzero(both == -1) / decided),
                num=decided,
            )


def _says_a(difference: Difference) -> bool:
    return difference.mean != 0 and (difference.mean < 0) == difference.lower_is_better


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
