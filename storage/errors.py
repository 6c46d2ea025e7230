"""What can go wrong without a bug, and the exit code that tells it; `persona` and a training share this table.

An error of these kinds is told in one sentence that names what, where and the remedy, never by a traceback. Anything
else that is raised is a bug.
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """How a command or a training ended."""

    SUCCESS = 0
    NOT_IN_ORDER = 1
    BAD_INPUT = 2
    WEIGHTS_MISSING = 3
    TOO_MANY_FAILURES = 4
    WORKER_KILLED = 5
    ROOT_IN_USE = 6
    DISK_OR_NETWORK = 7
    NON_FINITE_LOSS = 8
    OUT_OF_MEMORY = 9
    TRAINING_GAVE_UP = 10
    DAMAGED_FILE = 11
    BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


class PersonaError(Exception):
    """Something went wrong that is no bug; the message is one sentence with the remedy."""

    exit_code: ClassVar[ExitCode] = ExitCode.BAD_INPUT


class InputError(PersonaError, ValueError):
    """What was given cannot be used: a configuration, an argument, a file of another kind."""


class DamagedFileError(PersonaError, ValueError):
    """A stored file is not as it was written: the message names it, and whether to delete or to restore it."""

    exit_code = ExitCode.DAMAGED_FILE


class DiskOrNetworkError(PersonaError, OSError):
    """A disk is full or read-only, a bucket or a server is away; the message names which."""

    exit_code = ExitCode.DISK_OR_NETWORK
