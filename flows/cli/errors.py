"""What can go wrong without a bug is told in one sentence and by the exit code; anything else with its traceback."""

import errno
import re
import sys
import traceback

from storage.errors import ExitCode, PersonaError

_DISK = {"ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "ENOENT", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP"}
_DISK |= {"EMFILE", "ENFILE", "EBUSY", "EFBIG", "ESTALE", "EEXIST", "ENOTEMPTY", "EXDEV"}
_NETWORK = {"ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EPIPE"}
_NUMBERS = {getattr(errno, name) for name in _DISK | _NETWORK}
_BUCKET = re.compile(r"AWS Error|google::cloud|Azure")
"""What Arrow's messages hold where a bucket is the cause: these errors have no number of their own."""


def tell(error: Exception, debug: bool = False) -> ExitCode:
    """Say on stderr what went wrong; returns the exit code.

    Args:
        error: as a command raised it.
        debug: show the traceback of an expected error too.
    """
    code = exit_code(error)
    if code is ExitCode.BUG or debug:
        traceback.print_exception(error)
    if code is ExitCode.BUG:
        print("persona: this is a bug; please report it with the lines above", file=sys.stderr)
    else:
        print(f"persona: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def exit_code(error: Exception) -> ExitCode:
    """What the kind of an error means: one of ours, the disk or the network, or else a bug."""
    if isinstance(error, PersonaError):
        return error.exit_code
    if isinstance(error, ConnectionError | TimeoutError):
        return ExitCode.DISK_OR_NETWORK
    if isinstance(error, OSError) and (error.errno in _NUMBERS or _BUCKET.search(str(error))):
        return ExitCode.DISK_OR_NETWORK
    return ExitCode.BUG
