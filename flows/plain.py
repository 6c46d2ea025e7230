"""What stands in Prefect's place where no server is named: decorators that change nothing, limits that let all in."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Function = TypeVar("Function")

NO_CACHE = None


def flow(**_: object) -> Callable[[Function], Function]:
    """Leaves the function as it is."""
    return lambda function: function


task = flow


@contextmanager
def concurrency(*_: object, **__: object) -> Iterator[None]:
    """A limit that several machines share; one that runs alone has nobody to wait for."""
    yield


def emit_event(*_: object, **__: object) -> None:
    """Nobody listens."""


def get_run_logger() -> logging.Logger:
    """The log of a run that has no page: the terminal's."""
    return logging.getLogger("persona")
