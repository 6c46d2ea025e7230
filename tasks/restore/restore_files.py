"""Restore files: every input is restored or failed, and a report says which, why and where."""

import errno
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from model.restoration.restore import Restorer
from model.training.exit_codes import is_out_of_memory
from storage.digest import canonical_json, digest
from storage.reasons import Reason
from storage.rejection import Rejection
from storage.store import Store
from tasks.images.decode import Pixels
from tasks.images.picture_files import picture_of, read_bytes
from tasks.restore.find_pictures import Found, Job
from tasks.restore.restored_png import is_made_of, png_bytes

VERSION = 1
"""Part of what a result says it is made of; raised whenever the same input would give another one."""

REPORT = "restore-report.json"

Row = dict[str, Any]

_BAD_NAME = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ, errno.ELOOP}
"""Why one result cannot be written although the disk is in order."""


def restore_files(
    found: Found,
    out: Path,
    restorer: Restorer,
    model_sha256: str,
    about: Row,
    on_progress: Callable[[int], None] | None = None,
) -> Row:
    """Restore all inputs and write the report, also of what was done until somebody stopped it.

    What lies there already, restored from the same bytes by the same model in the same way, is left as it is.

    Args:
        found: from `find_pictures`.
        out: folder of the results.
        restorer: holds `batch_size`; no more pictures than that are in memory.
        model_sha256: of the `model.json` that `restorer` was loaded from.
        about: goes into the report as it is, such as which model it was.
        on_progress: is told how many more inputs are done.

    Returns:
        The report: `num_in`, `num_restored` (`num_restored_before` of them by an earlier run), `num_failed`,
        `num_not_reached` and one row per input that was reached.
    """
    store, rows = Store(str(out)), dict[Path, Row]()
    how = digest("restore", VERSION, model_sha256, str(restorer.generator.dtype), restorer.config.content())
    size = restorer.config.batch_size
    store.local(REPORT).unlink(missing_ok=True)  # the one that lies there tells of the last run, or there is none
    try:
        for start in range(0, len(found.jobs), size):
            for job, row in _restore_some(found.jobs[start : start + size], store, restorer, how):
                rows[job.path] = row
                if on_progress:
                    on_progress(1)
    finally:
        report = _report([rows[job.path] for job in found.jobs if job.path in rows], found)
        report |= {**about, "configuration": restorer.config.model_dump(mode="json")}
        store.write_text(REPORT, canonical_json(report) + "\n")
    return report


def _report(rows: list[Row], found: Found) -> Row:
    counts = {
        "num_in": len(found.jobs),
        "num_restored": sum(row["reason"] is None for row in rows),
        "num_restored_before": sum(row["before"] for row in rows),
        "num_failed": sum(row["reason"] is not None for row in rows),
        "num_not_reached": len(found.jobs) - len(rows),
        "num_passed_over": found.num_passed_over,
    }
    assert counts["num_in"] == counts["num_restored"] + counts["num_failed"] + counts["num_not_reached"]
    return {**counts, "pictures": rows}


def _restore_some(jobs: Sequence[Job], store: Store, restorer: Restorer, how: str) -> Iterator[tuple[Job, Row]]:
    """Every job with its row as soon as it is done; pictures are restored together, or one by one if that fails."""
    began = time.monotonic()
    readable: list[tuple[Job, str, Pixels]] = []
    for job in jobs:
        data = job.why_not or read_bytes(job.path)
        if isinstance(data, Rejection):
            yield job, _row(job, data)
            continue
        made_of = digest(how, hashlib.sha256(data).hexdigest())
        if is_made_of(store.local(job.output), made_of):
            yield job, _row(job, before=True)
            continue
        picture = _picture(data, restorer)
        if isinstance(picture, Rejection):
            yield job, _row(job, picture)
        else:
            readable.append((job, made_of, picture))
    restored = _restored([picture.bgr for *_, picture in readable], restorer)
    for (job, made_of, picture), bgr in zip(readable, restored, strict=True):
        why_not = bgr if isinstance(bgr, Rejection) else _write(store, job.output, bgr, picture.alpha, made_of)
        if why_not:
            yield job, _row(job, why_not)
        else:
            seconds = round((time.monotonic() - began) / len(readable), 3)
            yield job, _row(job, tiled=restorer.is_tiled(picture.bgr), seconds=seconds)


def _row(
    job: Job,
    why_not: Rejection | None = None,
    before: bool = False,
    tiled: bool | None = None,
    seconds: float | None = None,
) -> Row:
    return {
        "input": str(job.path),
        "output": None if why_not else job.output,
        "reason": why_not and why_not.reason,
        "detail": why_not and why_not.words,
        "before": before,
        "tiled": tiled,
        "seconds": seconds,
    }


def _picture(data: bytes, restorer: Restorer) -> Pixels | Rejection:
    """The picture, upright, if the restorer takes it."""
    try:
        picture = picture_of(data, int(restorer.config.max_megapixels * 1e6))
        if not isinstance(picture, Rejection):
            restorer.working_size_px(picture.bgr)
        return picture
    except MemoryError:
        return Rejection(Reason.NOT_RESTORED, detail="there is not enough memory to decode it")
    except ValueError as error:  # of `working_size_px`
        return Rejection(Reason.TOO_MANY_PIXELS, detail=str(error))


def _restored(pictures: list[np.ndarray], restorer: Restorer) -> list[np.ndarray | Rejection]:
    """The results, or why there is none."""
    try:
        return list(restorer.restore(pictures))
    except (RuntimeError, MemoryError, ValueError, cv2.error) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        if len(pictures) == 1:
            words = " ".join(str(error).split()) or "there is not enough memory"
            return [Rejection(Reason.NOT_RESTORED, detail=words)]
    return [_restored([picture], restorer)[0] for picture in pictures]


def _write(store: Store, output: str, bgr: np.ndarray, alpha: np.ndarray | None, made_of: str) -> Rejection | None:
    try:
        with store.new_file(output) as aside:
            aside.write_bytes(png_bytes(bgr, alpha, made_of))
    except OSError as error:
        if error.errno not in _BAD_NAME:
            raise
        return Rejection(Reason.NOT_WRITTEN, detail=f"{output}: {error.strerror}")
    return None
