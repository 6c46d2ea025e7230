"""Which labels are people."""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated

from pydantic import Field

Labels = Annotated[tuple[str, ...], Field(min_length=1)]

PERSON_LABELS: Labels = (
    "person",
    "people",
    "pedestrian",
    "human",
    "human body",
    "man",
    "woman",
    "boy",
    "girl",
    "rider",  # of a bicycle or a horse, without it (Cityscapes, BDD100K)
)
"""What annotated sets call a whole person; parts such as "human face" are none."""

_SHOWN = 20


def is_person(name: str | None, labels: Labels) -> bool:
    """Whether `name` is one of `labels`, compared without case."""
    return name is not None and _is_person(name, labels)


@lru_cache(maxsize=1024)
def _is_person(name: str, labels: Labels) -> bool:
    return name.strip().casefold() in {label.strip().casefold() for label in labels}


def no_person_label(where: object, labels: Labels, found: Iterable[str | None]) -> str:
    """The sentence for annotations in which no label is a person's: which labels there are, and what to do."""
    num = Counter(str(name) for name in found)
    shown = ", ".join(name for name, _ in num.most_common(_SHOWN)) or "none at all"
    more = f" and {len(num) - _SHOWN} more" if len(num) > _SHOWN else ""
    return f"{where} has none of the labels {', '.join(labels)}, only {shown}{more}: say in `labels` which are people"
