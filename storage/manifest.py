"""What the manifest of a snapshot or a benchmark says."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from storage.report import StageReport


@dataclass(frozen=True)
class FileFacts:
    """One file of a snapshot; its path is relative to the snapshot."""

    path: str
    split: str | None  # train, val or test; None for a document
    rows: int | None
    bytes: int
    sha256: str


class _Stored(BaseModel):
    """What other versions say besides is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class MetricStatistics(_Stored):
    """One metric over all crops that were chosen from."""

    metric: str
    """Or `score`, eq. 1 of the paper."""
    lower_is_better: bool
    mean: float
    std: float
    limit: float | None
    """Inclusive; of `score` the lowest within the top share."""
    num_crops: int


class Manifest(_Stored):
    """A snapshot or benchmark as it was published."""

    format_version: int
    id: str = ""
    name: str = ""
    """Of the dataset."""
    digest: str = ""
    """Of everything else here, and so of every byte; empty before the manifest is written."""
    files: tuple[FileFacts, ...]
    code_version: str | None = None
    configuration: dict[str, Any] = {}
    """What decided the result."""
    weights: dict[str, str] = {}
    """Weights file → SHA-256."""
    statistics: tuple[MetricStatistics, ...] = ()
    funnel: tuple[StageReport, ...] = ()
    reviews: dict[str, int] | None = None
    """What reviews changed; empty where nobody reviewed any crop."""
    contents: dict[str, Any] = {}
    """What is in it, counted for the datasheet."""
    benchmark: Literal["val", "test"] | None = None
    """Empty for a snapshot."""
    published: str | None = None
    """The published set that a benchmark is; empty for one of our own."""

    @property
    def num_rows(self) -> int:
        """Crops in all files."""
        return sum(file.rows or 0 for file in self.files)

    def of_split(self, split: str) -> list[FileFacts]:
        """The files of one split."""
        return [file for file in self.files if file.split == split]
