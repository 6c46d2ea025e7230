"""What a flow leaves on its Prefect page for people: tables, words, pictures, links, progress.

Outside of a run nothing happens. A server that refuses an artifact costs a warning, never the run.
"""

import base64
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from dashboards.funnel import funnel_rows
from flows.server import server_address
from storage.report import StageReport

log = logging.getLogger(__name__)

MAX_WIDTH_PX = 1600
JPEG_QUALITY = 80
PROGRESS_EVERY_S = 2.0
"""A stage that is over sooner leaves no progress bar behind."""


def artifact_key(*words: str) -> str:
    """The words as Prefect wants a key: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")


def funnel_artifact(name: str, reports: Sequence[StageReport]) -> None:
    """The funnel of the dataset `name` as a table, one line per source, stage and kind of item."""
    rows = funnel_rows(reports)
    chosen = sum(r.counts["crop"].num_kept for r in reports if r.stage == "select" and "crop" in r.counts)
    table_artifact(f"funnel {name}", rows, f"What became of everything in **{name}**: {chosen:,} crops chosen so far.")


def table_artifact(key: str, rows: Sequence[Mapping[str, object]], description: str) -> None:
    """A table; the keys of the rows are its columns. Numbers that are not finite become words."""
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    _leave("create_table_artifact", key, table=plain, description=description)


def markdown_artifact(key: str, markdown: str, description: str | None = None) -> None:
    """Words, such as a decision with its numbers."""
    _leave("create_markdown_artifact", key, markdown=markdown, description=description)


def link_artifact(key: str, address: str, text: str, description: str | None = None) -> None:
    """A link that people follow from the page of the run."""
    _leave("create_link_artifact", key, link=address, link_text=text, description=description)


def image_artifact(key: str, picture: np.ndarray, description: str) -> None:
    """A picture, (H, W, 3) uint8 BGR, shown on the artifact's page.

    It is a data URI inside of Markdown: the browser needs nothing but Prefect's own server for it, while Prefect's
    image artifacts hold an address and print it below the picture in full length.
    """
    width = min(MAX_WIDTH_PX, picture.shape[1])
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    address = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    markdown_artifact(key, f"![{description}]({address})", description)


@contextmanager
def stage_progress(stage: str, num_items: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on the page of the run; the callable that it gives advances it.

    Args:
        stage: what the bar is called.
        num_items: how many there are; None where nobody knows, and then there is no bar.
    """
    done, artifact_id, told = 0, None, time.monotonic()

    def advance(num: int) -> None:
        nonlocal done, artifact_id, told
        done += num
        if num_items and time.monotonic() - told >= PROGRESS_EVERY_S:
            told = time.monotonic()
            artifact_id = _show_progress(stage, artifact_id, done, num_items)

    yield advance
    if artifact_id is not None and num_items:
        _show_progress(stage, artifact_id, num_items, num_items)


def _show_progress(stage: str, artifact_id: Any, done: int, num_items: int) -> Any:  # noqa: ANN401 - Prefect's UUID
    share, words = min(100.0, 100 * done / num_items), f"{stage}: {done:,} of {num_items:,}"
    if artifact_id is None:
        return _leave("create_progress_artifact", f"progress {stage}", progress=share, description=words)
    _leave("update_progress_artifact", None, artifact_id=artifact_id, progress=share, description=words)
    return artifact_id


def _leave(create: str, key: str | None, **content: object) -> Any:  # noqa: ANN401 - Prefect's UUID
    """Call one of Prefect's functions for artifacts by its name."""
    if server_address() is None:
        return None
    import httpx
    from prefect import artifacts
    from prefect.context import FlowRunContext, TaskRunContext
    from prefect.exceptions import PrefectException

    if FlowRunContext.get() is None and TaskRunContext.get() is None:
        return None
    named = {} if key is None else {"key": artifact_key(key)}
    try:
        return getattr(artifacts, create)(**named, **content)
    except (httpx.HTTPError, PrefectException, OSError, RuntimeError) as error:
        log.warning("Prefect did not take the artifact %s: %s", key or "of the progress", error)
        return None


def _plain(value: object) -> object:
    """JSON has no NaN, and the table shows nothing for None."""
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else str(value)
    return value.item() if isinstance(value, np.generic) else value
