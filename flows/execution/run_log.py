"""The log of a run by the standard `logging`: a file under the root and, on request, the terminal."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from storage.store import Store

FOLDER = "logs"
OURS = ("flows", "tasks", "model", "storage", "dashboards", "persona")
"""The loggers above those of our modules, and the one that stands in for Prefect's where there is no server."""
_FORMAT = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

_TERMINAL = logging.StreamHandler(sys.stderr)
_TERMINAL.setFormatter(_FORMAT)

log = logging.getLogger(__name__)


def log_to_terminal() -> None:
    """Show everything that our modules log on stderr from now on."""
    for name in OURS:
        logger = logging.getLogger(name)
        logger.addHandler(_TERMINAL)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False  # Prefect hangs a handler of its own above


@contextlib.contextmanager
def run_log(store: Store, what: str) -> Iterator[None]:
    """Keep what our modules log meanwhile in `logs/WHAT-20261125T213000.log` below the root.

    An exception that leaves the block is logged with its traceback, whatever the terminal shows of it. On an object
    store the file appears when the block ends.
    """
    path = f"{FOLDER}/{what}-{time.strftime('%Y%m%dT%H%M%S')}.log"
    with _file(store, path) as file, contextlib.ExitStack() as stack:
        handler = logging.FileHandler(file, encoding="utf-8")
        handler.setFormatter(_FORMAT)
        stack.callback(handler.close)
        for name in OURS:
            stack.enter_context(_attached(logging.getLogger(name), handler))
        try:
            yield
        except BaseException:
            log.info("the run ended here", exc_info=True)  # the terminal is told in one sentence, by the command line
            raise


class _Above(logging.Handler):
    """Hands records on to the handlers of the root, which get no more than they would without the file."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger().handle(record)


@contextlib.contextmanager
def _attached(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    """Let a handler have all that a logger is told."""
    level, propagate, above = logger.level, logger.propagate, _Above(logger.getEffectiveLevel())
    added = [handler, above] if propagate else [handler]
    for one in added:
        logger.addHandler(one)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        for one in added:
            logger.removeHandler(one)
        logger.setLevel(level)
        logger.propagate = propagate


@contextlib.contextmanager
def _file(store: Store, path: str) -> Iterator[Path]:
    """A local log is written in place, so that a killed run leaves it."""
    if store.is_local:
        file = store.local(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        yield file
    else:
        with store.new_file(path) as aside:
            yield aside
