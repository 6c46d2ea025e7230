"""All metrics over batches of restored pictures: a value per picture where there is one, and FID over all of them."""

from collections.abc import Sequence

import numpy as np

from storage.errors import InputError
from tasks.metrics.iqa import measure, mode_of
from tasks.metrics.iqa_reference import FrechetSums, frechet_distance, inception_features, measure_pairs


class Meter:
    """Measures one set of pictures; every picture is seen once."""

    def __init__(self, metrics: Sequence[str], device: str, batch_size: int) -> None:
        self.per_image = [metric for metric in metrics if mode_of(metric) != "SET"]
        self._device, self._batch_size = device, batch_size
        self._sets = (FrechetSums(), FrechetSums()) if "fid" in metrics else None

    def measure(self, restored: list[np.ndarray], references: list[np.ndarray] | None) -> list[dict[str, float]]:
        """Metric → value for each picture; NaN where the metric has none, as for one even colour.

        Args:
            restored: (H, W, 3) uint8 BGR, all of one size.
            references: as many of the same size, or None where there are none.
        """
        if not restored:
            return []
        columns = {metric: self._values(metric, restored, references) for metric in self.per_image}
        if self._sets and references:
            for sums, pictures in zip(self._sets, (restored, references), strict=True):
                sums.add(inception_features(pictures, self._device, self._batch_size))
        return [{metric: values[i] for metric, values in columns.items()} for i in range(len(restored))]

    def _values(self, metric: str, restored: list[np.ndarray], references: list[np.ndarray] | None) -> list[float]:
        if mode_of(metric) == "NR":
            return measure(metric, restored, self._device, self._batch_size)
        if references is None:
            raise InputError(f"metric {metric} needs references, and the benchmark has none")
        return measure_pairs(metric, restored, references, self._device, self._batch_size)

    @property
    def num_in_sets(self) -> int:
        """Pictures that FID is computed from."""
        return self._sets[0].num if self._sets else 0

    def fid(self) -> float | None:
        """FID of everything measured so far; None if it was not asked for, or for fewer than two pictures."""
        if self._sets is None or self.num_in_sets < 2:
            return None
        return frechet_distance(*self._sets)
