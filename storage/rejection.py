"""Why something was not kept: what every stage writes into its `rejects` table."""

from dataclasses import dataclass

from storage.reasons import Reason
from storage.report import Item
from storage.shard import Row


@dataclass(frozen=True, slots=True)
class Rejection:
    """The reason, with what was measured and the limit that it was held against."""

    reason: Reason
    value: float | None = None
    limit: float | None = None
    detail: str | None = None

    @property
    def words(self) -> str:
        """The reason for people."""
        return f"{self.reason.sentence} ({self.detail})" if self.detail else self.reason.sentence

    def row(self, stage: str, source_name: str, item: Item, photo: Row, box: Row | None = None) -> Row:
        """A row of REJECTS about a photo, or about one box of it."""
        return {
            "stage": stage,
            "source": source_name,
            "item": item,
            "photo_id": photo["photo_id"],
            "box_id": box["box_id"] if box else None,
            "path": photo["path"],
            "outcome": self.reason.outcome,
            "reason": self.reason,
            "value": self.value,
            "limit": self.limit,
            "detail": self.detail,
            "bbox_xyxy_px": box["bbox_xyxy_px"] if box else None,
        }
