"""What can go wrong without a bug: told in one sentence and by the exit code, never by a traceback."""

from storage.errors import ExitCode, PersonaError

EXPECTED = (PersonaError, OSError)
"""Our own errors, and what disk and network say of themselves."""


def exit_code(error: BaseException) -> int:
    """The exit code of an expected error."""
    return error.exit_code if isinstance(error, PersonaError) else ExitCode.DISK_OR_NETWORK
