"""The books of a stage: how many items came in, and what became of each of them."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from storage.frozen import Frozen
from storage.reasons import Outcome, Reason

Item = Literal["record", "photo", "box", "field", "crop"]
PLURAL: dict[Item, str] = {
    "record": "records",
    "photo": "photos",
    "box": "boxes",
    "field": "fields",  # of a photo or box that is kept without it
    "crop": "crops",
}

WHOLE = "(all)"
"""Stands for the source where a stage handles the whole dataset at once."""


class ItemCounts(Frozen):
    """One kind of item in one stage."""

    num_in: int = 0
    num_kept: int = 0
    rejected: dict[Reason, int] = {}
    failed: dict[Reason, int] = {}

    @property
    def num_rejected(self) -> int:
        return sum(self.rejected.values())

    @property
    def num_failed(self) -> int:
        return sum(self.failed.values())

    def __add__(self, other: "ItemCounts") -> "ItemCounts":
        return ItemCounts(
            num_in=self.num_in + other.num_in,
            num_kept=self.num_kept + other.num_kept,
            rejected=dict(sorted((Counter(self.rejected) + Counter(other.rejected)).items())),
            failed=dict(sorted((Counter(self.failed) + Counter(other.failed)).items())),
        )


class StageReport(Frozen):
    """The counts of one stage over one shard, source or dataset."""

    stage: str
    source: str
    counts: dict[Item, ItemCounts]

    def __add__(self, other: "StageReport") -> "StageReport":
        if (self.stage, self.source) != (other.stage, other.source):
            raise ValueError(f"cannot add {other.stage}/{other.source} to {self.stage}/{self.source}")
        items = dict.fromkeys([*self.counts, *other.counts])
        empty = ItemCounts()
        return StageReport(
            stage=self.stage,
            source=self.source,
            counts={item: self.counts.get(item, empty) + other.counts.get(item, empty) for item in items},
        )


class CountsDoNotAddUpError(Exception):
    """Items were lost or invented: always a bug of the stage, never of the data."""


def checked(report: StageReport) -> StageReport:
    """`report`, after `in = kept + rejected + failed` has been verified for every kind of item.

    Raises:
        CountsDoNotAddUpError: naming stage, source, item and the numbers.
    """
    for item, counts in report.counts.items():
        if counts.num_in != counts.num_kept + counts.num_rejected + counts.num_failed:
            raise CountsDoNotAddUpError(
                f"{report.stage}/{report.source}: {counts.num_in} {item}s in, but {counts.num_kept} kept"
                f" + {counts.num_rejected} rejected + {counts.num_failed} failed"
            )
    return report


class Tally:
    """Counts one stage while it runs; `num_in` is counted where items enter, apart from their outcome."""

    def __init__(self, stage: str, source: str, items: Iterable[Item]) -> None:
        self._stage, self._source = stage, source
        self._num_in: Counter[Item] = Counter()
        self._num_kept: Counter[Item] = Counter()
        self._lost: dict[Item, Counter[Reason]] = {item: Counter() for item in items}

    def enter(self, item: Item, num: int = 1) -> None:
        """`num` items came in."""
        self._num_in[item] += num

    def keep(self, item: Item, num: int = 1) -> None:
        """`num` items were kept."""
        self._num_kept[item] += num

    def lose(self, item: Item, reason: Reason, num: int = 1) -> None:
        """`num` items were rejected or failed, as `reason` says."""
        self._lost[item][reason] += num

    def report(self) -> StageReport:
        """The finished, checked books."""
        counts = {
            item: ItemCounts(
                num_in=self._num_in[item],
                num_kept=self._num_kept[item],
                rejected={r: n for r, n in sorted(lost.items()) if n and r.outcome is Outcome.REJECTED},
                failed={r: n for r, n in sorted(lost.items()) if n and r.outcome is Outcome.FAILED},
            )
            for item, lost in self._lost.items()
        }
        return checked(StageReport(stage=self._stage, source=self._source, counts=counts))
