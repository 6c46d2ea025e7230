"""One run at a time under one root."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from storage.errors import ExitCode, PersonaError
from storage.store import Store

LOCK = ".persona.lock"


class RootInUseError(PersonaError):
    """Another run is writing under the same root."""

    exit_code = ExitCode.ROOT_IN_USE


@contextlib.contextmanager
def root_lock(store: Store) -> Iterator[None]:
    """Hold the root for this run and remove what a killed one left half-written.

    The lock goes with the process, however it ends. Object stores offer none: there the scheduler has to see to it.

    Raises:
        RootInUseError: another run holds it.
    """
    if not store.is_local:
        yield
        return
    with folder_lock(store.local()):
        store.sweep()
        yield


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder, so that no other process works in it.

    Raises:
        RootInUseError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RootInUseError(
                f"another run is working under {folder}: wait for it, or choose another root"
            ) from error
        yield
