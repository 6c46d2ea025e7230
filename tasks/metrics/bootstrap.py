"""How sure a mean is: percentile bootstrap (Efron, 1979), the same for every run."""

import numpy as np

from storage.evaluation import MIN_VALUES

_RESAMPLES_AT_A_TIME = 64


def bootstrap_interval(values: np.ndarray, num_resamples: int, seed: int) -> tuple[float, float]:
    """The 95 % interval of the mean of `values`, (N,) finite numbers, N at least 1.

    The means of `num_resamples` draws of N values with replacement are sorted; 2.5 % of them lie below the lower end
    and 2.5 % above the upper one. The draws depend on N and the seed alone, so a paired difference is judged on the
    same draws as the values themselves.
    """
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, num_resamples, _RESAMPLES_AT_A_TIME):
        num = min(_RESAMPLES_AT_A_TIME, num_resamples - start)
        means.append(values[rng.integers(0, len(values), (num, len(values)))].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def interval_of(values: np.ndarray, num_resamples: int, seed: int) -> tuple[float, float] | tuple[None, None]:
    """The interval of `bootstrap_interval`, or none where fewer than MIN_VALUES values make it meaningless."""
    return bootstrap_interval(values, num_resamples, seed) if len(values) >= MIN_VALUES else (None, None)
