"""Restore files and folders: every input is restored or failed, and a report says which, why and where."""

import glob
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch

from model.restoration.picture_files import SUFFIXES, Picture, UnusablePictureError, png_bytes, read_picture
from model.restoration.restore import Restorer
from storage.digest import canonical_json
from storage.errors import InputError
from storage.reasons import Reason
from storage.store import Store

REPORT = "restore-report.json"

Row = dict[str, Any]


class Job(NamedTuple):
    """One input."""

    path: Path
    output: str
    """Path of the result, below the output folder."""
    taken_by: Path | None = None
    """Another input that has this output already."""


def find_jobs(inputs: Sequence[str], out: Path) -> list[Job]:
    """Every picture of the inputs once, sorted by its output; results lie as the pictures lie in their folder.

    Args:
        inputs: files, folders and patterns such as `photos/**/*.jpg`.
        out: the output folder; what lies there is no input, if it is within an input folder.

    Raises:
        ValueError: there is no picture, or a result would replace an input.
    """
    found: dict[Path, str] = {}
    for text in inputs:
        for path, output in _pictures_of(text, out):
            found.setdefault(path.resolve(), output)
    jobs: list[Job] = []
    first: dict[str, Path] = {}
    for path, output in sorted(found.items(), key=lambda item: (item[1], str(item[0]))):
        jobs.append(Job(path, output, first.get(output)))
        first.setdefault(output, path)
        if (out / output).resolve() in found:
            raise InputError(f"{out / output} would be replaced, which is an input: choose another output folder")
    if not jobs:
        raise InputError(f"{' '.join(inputs)} holds no picture: give files, folders or patterns")
    return jobs


def _pictures_of(text: str, out: Path) -> Iterator[tuple[Path, str]]:
    """Every picture that one input names, with its output."""
    given = Path(text)
    if given.is_dir():
        inside = given.resolve() in out.resolve().parents
        for path in sorted(given.rglob("*")):
            is_result = inside and out.resolve() in path.resolve().parents
            if path.suffix.lower() in SUFFIXES and path.is_file() and not is_result:
                yield path, _output(path.relative_to(given))
    elif not given.exists() and glob.has_magic(text):
        folder = Path(*_before_wildcards(given.parts))
        for name in sorted(glob.glob(text, recursive=True)):  # noqa: PTH207 - Path.glob knows no absolute patterns
            if Path(name).is_file():
                yield Path(name), _output(Path(name).relative_to(folder))
    else:
        yield given, _output(Path(given.name))


def _before_wildcards(parts: Sequence[str]) -> Iterator[str]:
    for part in parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _output(path: Path) -> str:
    return PurePosixPath(path).with_suffix(".png").as_posix()


def restore_files(
    jobs: Sequence[Job], out: Path, restorer: Restorer, about: Row, on_progress: Callable[[int], None] | None = None
) -> Row:
    """Restore all inputs and write the report; results of earlier runs are replaced.

    Args:
        jobs: from `find_jobs`.
        out: folder of the results.
        restorer: holds `batch_size`; no more pictures than that are in memory.
        about: goes into the report as it is, such as which model it was.
        on_progress: is told how many more inputs are done.

    Returns:
        The report: `num_in`, `num_restored`, `num_failed` and one row per input.
    """
    store, rows = Store(str(out)), []
    size = restorer.config.batch_size
    for start in range(0, len(jobs), size):
        rows += _restore_some(jobs[start : start + size], store, restorer)
        if on_progress:
            on_progress(len(jobs[start : start + size]))
    num_restored = sum(row["reason"] is None for row in rows)
    counts = {"num_in": len(jobs), "num_restored": num_restored, "num_failed": len(rows) - num_restored}
    assert counts["num_in"] == counts["num_restored"] + counts["num_failed"]
    report = {**counts, **about, "configuration": restorer.config.model_dump(mode="json"), "pictures": rows}
    store.write_text(REPORT, canonical_json(report) + "\n")
    return report


def _restore_some(jobs: Sequence[Job], store: Store, restorer: Restorer) -> list[Row]:
    """One row per job, in order; readable pictures are restored together, or one by one if that fails."""
    began = time.monotonic()
    rows: list[Row] = []
    readable: list[tuple[Row, Picture]] = []
    for job in jobs:
        row: Row = {"input": str(job.path), "output": None, "reason": None, "detail": None, "tiled": None}
        rows.append(row)
        if job.taken_by is not None:
            row |= {"reason": Reason.OUTPUT_TAKEN, "detail": f"{job.output} comes from {job.taken_by}: rename one"}
            continue
        try:
            picture = read_picture(job.path)
            row |= {"output": job.output, "tiled": restorer.is_tiled(picture.bgr)}
            readable.append((row, picture))
        except UnusablePictureError as error:
            row |= {"output": None, "reason": error.reason, "detail": str(error)}
        except ValueError as error:  # of `is_tiled`
            row |= {"output": None, "reason": Reason.TOO_MANY_PIXELS, "detail": str(error)}
    for (row, picture), restored in zip(readable, _restored([p.bgr for _, p in readable], restorer), strict=True):
        if isinstance(restored, str):
            row |= {"output": None, "reason": Reason.NOT_RESTORED, "detail": restored}
            continue
        with store.new_file(row["output"]) as aside:
            aside.write_bytes(png_bytes(restored, picture.alpha))
        row["seconds"] = round((time.monotonic() - began) / len(readable), 3)
    return rows


def _restored(pictures: list[np.ndarray], restorer: Restorer) -> list[np.ndarray | str]:
    """The results, or why there is none."""
    try:
        return list(restorer.restore(pictures))
    except (torch.OutOfMemoryError, ValueError) as error:
        if len(pictures) == 1:
            return [" ".join(str(error).split())]
    return [_restored([picture], restorer)[0] for picture in pictures]
