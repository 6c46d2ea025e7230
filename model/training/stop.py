"""Ctrl-C and SIGTERM end a training between two updates, so that nothing of what it did is lost."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The training was asked to end; no error, so nothing that deals with errors may take it for one."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class StopSignals:
    """What was heard of Ctrl-C and SIGTERM: at once while nothing is at stake, else when the work asks."""

    def __init__(self) -> None:
        self.heard: int | None = None
        """The signal that came first."""
        self._is_waiting = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside of the block a signal raises `Stopped`; afterwards signals do what they did before.

        What a shell made ignored, as it does with Ctrl-C for a job in the background, stays so.
        """
        wanted = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._hear) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Inside of the block a signal is only noted in `heard`; a second Ctrl-C does not wait."""
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False

    def _hear(self, number: int, frame: object) -> None:
        is_first, self.heard = self.heard is None, self.heard or number
        # A launcher passes on the Ctrl-C that its processes had from the terminal: there the second is the same one.
        is_urgent = not is_first and number == signal.SIGINT and "TORCHELASTIC_RUN_ID" not in os.environ
        if is_urgent or not self._is_waiting:
            raise Stopped(self.heard)
