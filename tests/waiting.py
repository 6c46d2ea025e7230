"""Waiting for what other processes do: for a condition, up to a deadline that only a hang reaches on a busy machine."""

import time

PATIENCE_S = 600.0


def wait_until(condition, *arguments, otherwise, poll_s=0.02):
    """What `condition(*arguments)` returns, once that is true; `otherwise` says what is wrong when it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition(*arguments)):
        assert time.monotonic() < deadline, otherwise() if callable(otherwise) else otherwise
        time.sleep(poll_s)
    return found
