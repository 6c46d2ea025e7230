"""The best and the worst pictures of an evaluation."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

NUM = 20


class Example(NamedTuple):
    """One of them."""

    side: str
    """best or worst"""
    rank: int
    """From 1."""
    at: int
    """Of the picture."""


def best_and_worst(crop_ids: Sequence[str], values: Sequence[float | None], lower_is_better: bool) -> Iterator[Example]:
    """The NUM best, the best first, and then the NUM worst, the worst first; no picture is on both sides.

    Args:
        crop_ids: of the pictures; ties go by them.
        values: of the primary metric; None is passed over.
        lower_is_better: its direction.
    """
    sign = -1 if lower_is_better else 1
    ranked = sorted((sign * value, crop_ids[i], i) for i, value in enumerate(values) if value is not None)
    num = len(ranked)
    for side, ordered, room in (("best", ranked[::-1], -(-num // 2)), ("worst", ranked, num // 2)):
        for rank, (_, _, index) in enumerate(ordered[: min(NUM, room)], start=1):
            yield Example(side, rank, index)
