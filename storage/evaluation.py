"""What an evaluation found: a value per metric with its interval, and the difference of two of them.

evaluations/LABEL-0123456789ab/
    per_image.parquet   every value of every picture
    examples.parquet    the best and the worst pictures themselves
    evaluation.json     written last of these: with it the evaluation exists
    table.md, best.jpg, worst.jpg
comparisons/0123456789ab/
    comparison.json, table.md
"""

from typing import Literal

import pyarrow as pa
from pydantic import ValidationError

from storage.errors import DamagedFileError, InputError
from storage.frozen import Frozen
from storage.schema import IMAGE
from storage.sealed import read_record
from storage.store import Store

FOLDER = "evaluations"
COMPARISONS = "comparisons"
FILE = "evaluation.json"

Kind = Literal["model", "folder", "lq", "hq"]

MIN_VALUES = 20
"""Below so many pictures a mean or a difference has no interval, and so nothing is decided from it.

The percentile bootstrap is too narrow for small samples: its nominal 95 % hold the mean of N exponential values in 69 %
of cases for N = 3, 79 % for 5, 85 % for 10, 90 % for 20 and 94 % for 100 (of normal ones: 73, 82, 90, 93, 94; measured
in `test_evaluate.py`; Hesterberg, The American Statistician 69 (2015), explains why). For N = 1 it is a single point.
"""

EXAMPLES = pa.schema(
    [
        pa.field("side", pa.string(), nullable=False),  # best or worst
        pa.field("rank", pa.int32(), nullable=False),  # from 1
        pa.field("crop_id", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),  # of the primary metric
        ("lq", IMAGE),
        ("restored", IMAGE),
        ("hq", IMAGE),  # null on a benchmark without references
    ]
)


class MetricResult(Frozen):
    """One metric over all pictures of a benchmark."""

    lower_is_better: bool
    mean: float | None = None
    """None where the metric is unavailable."""
    low: float | None = None
    """Lower end of the 95 % bootstrap interval of the mean; None for FID, and below MIN_VALUES values."""
    high: float | None = None
    num: int = 0
    """Pictures that have a value."""
    unavailable: str | None = None
    """Why there is no value, in one sentence."""


class BenchmarkName(Frozen):
    """Which benchmark it was, exactly."""

    id: str
    digest: str
    """Of its manifest, and so of every byte."""
    has_hq: bool
    published: str | None = None
    """The published set that it is, by its name in `tasks/evaluate/published.py`; None for one of our own."""


class Evaluation(Frozen):
    """What the pictures of one model, folder or of the input itself are worth on one benchmark."""

    format_version: int = 1
    id: str
    label: str
    kind: Kind
    benchmark: BenchmarkName
    metrics: dict[str, MetricResult]
    primary: str | None
    """The metric by which best and worst were chosen."""
    num_images: int
    num_failed: int
    """Pictures that were missing or could not be used; `per_image.parquet` says why."""
    remarks: tuple[str, ...] = ()
    """How its pictures were found, where that is not plain."""
    device: str | None = None
    """Where networks ran: cpu, cuda or mps; None in what was judged before it was noted."""
    precision: str | None = None
    """In which a model restored; None where there was none."""
    weights: dict[str, dict[str, str]]
    """Metric → weights file → SHA-256."""
    notes: dict[str, str]
    """What there is to know about how a metric was computed."""
    code_version: str

    @property
    def path(self) -> str:
        """Its folder below the root."""
        return f"{FOLDER}/{self.id}"

    @property
    def num_judged(self) -> int:
        """Pictures that could be used."""
        return self.num_images - self.num_failed

    @property
    def headline(self) -> str:
        """How many of the benchmark's pictures were judged, in words: "6 pictures" or "1 of 6 pictures"."""
        of = f" of {self.num_images:,}" if self.num_failed else ""
        return f"{self.num_judged:,}{of} pictures"


class Difference(Frozen):
    """One metric of A minus that of B, on the pictures that both have a value of."""

    lower_is_better: bool
    mean: float
    low: float | None = None
    high: float | None = None
    num: int

    @property
    def better(self) -> Literal["a", "b"] | None:
        """Who is better; None if the interval holds 0, or if there is none, as below MIN_VALUES pairs."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return None
        return "a" if (self.mean < 0) == self.lower_is_better else "b"


class Disagreement(Frozen):
    """Two metrics that put A and B in different orders."""

    for_a: str
    """The metric whose mean says that A is better."""
    for_b: str
    certain: bool
    """Both say so beyond their intervals."""
    share: float
    """Of pictures in which the two prefer different ones, among those in which each prefers one."""
    num: int
    """How many these are."""


class Comparison(Frozen):
    """A against B on the same pictures."""

    format_version: int = 1
    id: str
    a: str
    b: str
    benchmark: BenchmarkName
    differences: dict[str, Difference]
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def path(self) -> str:
        """Its folder below the root."""
        return f"{COMPARISONS}/{self.id}"


def load_evaluation(store: Store, path: str) -> Evaluation:
    """The evaluation in a folder below the root.

    Raises:
        InputError: there is none.
        DamagedFileError: it is not as it was written, or not of this version.
    """
    name = f"{path}/{FILE}"
    if not store.exists(name):
        raise InputError(f"{name} is missing below {store.root}: the evaluation was never finished")
    remedy = "delete it, and evaluate again"
    content = read_record(store, name, remedy)
    try:
        return Evaluation.model_validate(content)
    except ValidationError as error:
        raise DamagedFileError(f"{name} below {store.root} is no evaluation of this version: {remedy}") from error


def list_evaluations(store: Store) -> list[Evaluation]:
    """Every finished evaluation below a root, in the order of their ids."""
    names = [path for path in store.files(FOLDER) if path.endswith(f"/{FILE}") and path.count("/") == 2]
    return [load_evaluation(store, name.removesuffix(f"/{FILE}")) for name in names]
