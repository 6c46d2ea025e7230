"""Prefect where `PREFECT_API_URL` names a server; where it does not, nothing of Prefect is imported or started.

Flows and tasks take their decorators from here. Without a server they are the plain functions that they are written
as: a run on one machine needs no second process, no home folder and no open port, and starts seconds sooner.
"""

import os
import warnings
from typing import TYPE_CHECKING, Any

from storage.errors import DiskOrNetworkError, InputError

HEARTBEAT_S = 30
"""How often a run tells the server that it lives, which the zombie automation counts on; Prefect allows no less."""

_CONNECT_S, _ANSWER_S = 5.0, 30.0


def _was_network(task: object, run: object, state: Any) -> bool:  # noqa: ANN401 - Prefect's State
    error = state.result(raise_on_failure=False)
    return isinstance(error, DiskOrNetworkError | ConnectionError | TimeoutError)


RETRY_NETWORK: Any = {"retries": 2, "retry_delay_seconds": [10, 60], "retry_condition_fn": _was_network}
"""For tasks that do not make again what is there: a bucket or a hub that was away for a minute costs a minute."""


def server_address() -> str | None:
    """The API that runs report to, if any."""
    return os.environ.get("PREFECT_API_URL") or None


def check_server() -> None:
    """Make sure that the server, where one is named, would take a run; `PREFECT_API_AUTH_STRING` is its password.

    Raises:
        DiskOrNetworkError: it does not answer.
        InputError: what answers is no Prefect API, or refuses the password.
    """
    address = server_address()
    if address is None:
        return
    import httpx  # comes with Prefect

    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    key = os.environ.get("PREFECT_API_KEY")
    try:
        answer = httpx.get(
            f"{address.rstrip('/')}/admin/version",
            auth=(user, password) if user else None,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DiskOrNetworkError(
            f"no Prefect server answers at {address} ({error}): start it, or unset PREFECT_API_URL to run without one"
        ) from error
    if answer.status_code in (401, 403):
        raise InputError(
            f"the Prefect server at {address} wants its password: set PREFECT_API_AUTH_STRING=user:password"
        )
    if not key and not (answer.is_success and answer.headers.get("Content-Type", "").startswith("application/json")):
        raise InputError(f"{address} is not the API of a Prefect server: does PREFECT_API_URL end with /api?")


def _prepare() -> None:
    """What has to be set before Prefect is imported."""
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_S))
    # A proxy of the company knows nothing of this machine; both spellings, since libraries look at either.
    spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if spared != "*":
        ours = [name for name in ("127.0.0.1", "localhost", "::1") if name not in spared.split(",")]
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [spared, *ours]))
    # A home that cannot be written, as in containers, costs nothing: what a run keeps lies under its root.
    warnings.filterwarnings("ignore", "Failed to create the Prefect home directory")


if TYPE_CHECKING or server_address():
    _prepare()
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.concurrency.sync import concurrency
    from prefect.events import emit_event
    from prefect.logging import get_run_logger
else:
    from flows.plain import NO_CACHE, concurrency, emit_event, flow, get_run_logger, task

__all__ = ["NO_CACHE", "concurrency", "emit_event", "flow", "get_run_logger", "task"]
