"""The log of a run by the standard `logging`: a file under the root and, on request, the terminal."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from storage.store import Store

FOLDER = "logs"
OURS = ("flows", "tasks", "model", "storage", "dashboards")
"""The loggers above those of our modules."""
_FORMAT = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

log = logging.getLogger(__name__)


def log_to_terminal() -> None:
    """Show everything that our modules log on stderr from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FORMAT)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False  # Prefect hangs a handler of its own above


@contextlib.contextmanager
def run_log(store: Store, what: str) -> Iterator[None]:
    """Keep what our modules log meanwhile in `logs/WHAT-20261125T213000.log` below the root.

    An exception that leaves the block is logged with its traceback, whatever the terminal shows of it. On an object
    store the file appears when the block ends.
    """
    path = f"{FOLDER}/{what}-{time.strftime('%Y%m%dT%H%M%S')}.log"
    with _file(store, path) as file:
        handler = logging.FileHandler(file, encoding="utf-8")
        handler.setFormatter(_FORMAT)
        loggers = [logging.getLogger(name) for name in OURS]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.addHandler(handler)
            logger.setLevel(logging.DEBUG)
        try:
            yield
        except BaseException:
            log.exception("the run ended here")
            raise
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.removeHandler(handler)
                logger.setLevel(level)
            handler.close()


@contextlib.contextmanager
def _file(store: Store, path: str) -> Iterator[Path]:
    """A local log is written in place, so that a killed run leaves it."""
    if store.is_local:
        file = store.local(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        yield file
    else:
        with contextlib.ExitStack() as stack:
            yield stack.enter_context(store.new_file(path))
