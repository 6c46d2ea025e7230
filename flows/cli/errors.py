"""What can go wrong without a bug: told in one sentence and by the exit code, never by a traceback."""

from flows.execution.processes import WorkerKilledError
from flows.execution.root_lock import RootInUseError
from flows.execution.run_record import TooManyFailuresError
from model.network.weights import WeightsUnavailableError
from storage.config_file import ConfigError
from tasks.training.process import TrainingGaveUpError

_EXIT_CODES: dict[type[BaseException], int] = {
    ConfigError: 2,
    ValueError: 2,  # annotations of another format, a snapshot that is none
    FileNotFoundError: 2,
    WeightsUnavailableError: 3,
    TooManyFailuresError: 4,
    WorkerKilledError: 5,
    RootInUseError: 6,
    TrainingGaveUpError: 8,
    OSError: 7,  # the disk is full, the network is away
}

EXPECTED = tuple(_EXIT_CODES)


def exit_code(error: BaseException) -> int:
    """The exit code of an expected error."""
    return next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))
