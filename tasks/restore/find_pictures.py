"""Which pictures a restoration was asked for, and what each result will be called."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from storage.errors import InputError
from storage.reasons import Reason
from storage.rejection import Rejection
from tasks.photos.names import is_image, is_litter


class Job(NamedTuple):
    """One input."""

    path: Path
    output: str
    """Path of the result, below the output folder."""
    why_not: Rejection | None = None
    """Known before the picture is opened: its folder cannot be read, or another input has this output already."""


class Found(NamedTuple):
    """What the inputs hold."""

    jobs: list[Job]
    num_passed_over: int
    """Files of folders that are no pictures by their names."""


def find_pictures(inputs: Sequence[str], out: Path) -> Found:
    """Every picture of the inputs once, sorted by its output; results lie as the pictures lie in their folder.

    Args:
        inputs: files, folders and patterns such as `photos/**/*.jpg`.
        out: the output folder; what lies there is no input, if it is within an input folder.

    Raises:
        InputError: there is no picture, or a result would replace an input.
    """
    found: dict[str, Job] = {}
    num_passed_over = 0
    for text in inputs:
        for job in _pictures_of(text, out):
            if job is None:
                num_passed_over += 1
            else:
                found.setdefault(os.path.realpath(job.path), job)
    jobs: list[Job] = []
    first: dict[str, Path] = {}
    for job in sorted(found.values(), key=lambda job: (job.output, str(job.path))):
        taken_by = first.setdefault(job.output, job.path)
        if taken_by != job.path and job.why_not is None:
            words = f"{job.output} comes from {taken_by}: rename one"
            job = job._replace(why_not=Rejection(Reason.OUTPUT_TAKEN, detail=words))
        jobs.append(job)
        if os.path.realpath(out / job.output) in found:
            raise InputError(f"{out / job.output} would be replaced, which is an input: choose another output folder")
    if not jobs:
        raise InputError(f"{' '.join(inputs)} holds no picture: give files, folders or patterns")
    return Found(jobs, num_passed_over)


def _pictures_of(text: str, out: Path) -> Iterator[Job | None]:
    """Every picture that one input names, None for every other file of a folder."""
    given = Path(os.path.abspath(text))  # noqa: PTH100 - which leaves links as they are
    if given.is_dir():
        seen = {_identity(out)} - {_identity(given), None}
        for path, why_not in _walk(given, seen):
            is_picture = why_not is not None or (is_image(path.name) and not is_litter(path.as_posix()))
            yield Job(path, _output(path.relative_to(given)), why_not) if is_picture else None
    elif glob.has_magic(text) and not os.path.lexists(text):
        folder = Path(os.path.abspath(Path(*_before_wildcards(Path(text).parts))))  # noqa: PTH100
        for name in sorted(glob.glob(text, recursive=True)):  # noqa: PTH207 - Path.glob knows no absolute patterns
            path = Path(os.path.abspath(name))  # noqa: PTH100
            if not path.is_dir():
                yield Job(path, _output(path.relative_to(folder)))
    else:
        yield Job(given, _output(Path(given.name)))


def _walk(folder: Path, seen: set[tuple[int, int] | None]) -> Iterator[tuple[Path, Rejection | None]]:
    """Every file below a folder, and every folder that cannot be read with the reason.

    Links are followed, but no folder is entered twice, so circles end.
    """
    identity = _identity(folder)
    if identity in seen:
        return
    seen.add(identity)
    try:
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry in found)
    except OSError as error:
        yield folder, Rejection(Reason.UNREADABLE_FILE, detail=f"folder: {error.strerror}")
        return
    for name in names:
        path = folder / name
        if os.path.isdir(path):  # noqa: PTH112 - which takes a link that leads to itself for a file
            yield from _walk(path, seen)
        else:
            yield path, None


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _before_wildcards(parts: Sequence[str]) -> Iterator[str]:
    for part in parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _output(path: Path) -> str:
    return PurePosixPath(path).with_suffix(".png").as_posix()
