"""The best and the worst pictures of a pass, kept while it runs: memory does not grow with the number of pictures."""

import heapq
import math
from collections.abc import Iterator

import numpy as np

from storage.shard import Row
from tasks.crop.crop import encode_png

NUM = 20

_Entry = tuple[float, str, float, Row]
"""How good, crop id, value, row of EXAMPLES; ties go by crop id."""


class Examples:
    """Keeps the NUM best and the NUM worst of the pictures that it is offered."""

    def __init__(self, lower_is_better: bool) -> None:
        self._sign = -1 if lower_is_better else 1
        self._best: list[_Entry] = []
        self._worst: list[_Entry] = []
        self._num_seen = 0

    def offer(self, row: Row, restored: np.ndarray, value: float) -> None:
        """Look at one picture.

        Args:
            row: of the benchmark, with `crop_id`, `lq` and, if there is one, `hq`.
            restored: (H, W, 3) uint8 BGR.
            value: of the primary metric; NaN is passed over.
        """
        if math.isnan(value):
            return
        self._num_seen += 1
        picture: Row = {}
        for heap, good in ((self._best, self._sign * value), (self._worst, -self._sign * value)):
            if len(heap) < NUM or (good, row["crop_id"]) > heap[0][:2]:
                picture = picture or _pictures(row, restored)
                entry = (good, row["crop_id"], value, picture)
                heapq.heappush(heap, entry) if len(heap) < NUM else heapq.heapreplace(heap, entry)

    def rows(self) -> Iterator[Row]:
        """Rows of EXAMPLES, the best first and then the worst first; no picture is on both sides."""
        room = min(NUM, -(-self._num_seen // 2)), min(NUM, self._num_seen // 2)
        for side, heap, num in zip(("best", "worst"), (self._best, self._worst), room, strict=True):
            for rank, (_, crop_id, value, pictures) in enumerate(sorted(heap, reverse=True)[:num], start=1):
                yield {"side": side, "rank": rank, "crop_id": crop_id, "value": value, **pictures}


def _pictures(row: Row, restored: np.ndarray) -> Row:
    png = {"bytes": encode_png(restored), "path": f"{row['crop_id']}.png"}
    return {"lq": row["lq"], "restored": png, "hq": row.get("hq")}
