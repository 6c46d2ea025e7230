"""How a training ended, told by its exit code."""

from storage.errors import ExitCode, PersonaError


class NonFiniteLossError(PersonaError):
    """A loss or a gradient is NaN or infinite; no weight was changed by it. The message names the crops."""

    exit_code = ExitCode.NON_FINITE_LOSS


def meaning(code: ExitCode) -> str:
    """What an exit code says of a training, in one sentence with the remedy."""
    return _MEANINGS[code]


_MEANINGS = {
    ExitCode.SUCCESS: "The training is complete.",
    ExitCode.BUG: "The training crashed, as its traceback tells: start again with --resume, and report it if it does "
    "so again.",
    ExitCode.BAD_INPUT: "Configuration, snapshot or warm start cannot be used: correct what the message names.",
    ExitCode.WEIGHTS_MISSING: "Weights of base, image encoder or LPIPS are missing: put them where the message says.",
    ExitCode.DISK_OR_NETWORK: "A disk or a network refused, or was away: see to what the message names, then start "
    "again with --resume.",
    ExitCode.DAMAGED_FILE: "A stored file is not as it was written: replace what the message names, then start again "
    "with --resume.",
    ExitCode.NON_FINITE_LOSS: "A loss was not finite, and was kept from the weights: lower the learning rate, or look "
    "at the crops that the message names.",
    ExitCode.OUT_OF_MEMORY: "The memory was not enough: raise accumulation, or switch on gradient_checkpointing, and "
    "start again with --resume.",
    ExitCode.INTERRUPTED: "The training was stopped by Ctrl-C: start again with --resume to go on.",
    ExitCode.TERMINATED: "The training was stopped by SIGTERM: start again with --resume to go on.",
}

FINAL = frozenset(
    {
        *(ExitCode.BAD_INPUT, ExitCode.WEIGHTS_MISSING, ExitCode.NON_FINITE_LOSS, ExitCode.OUT_OF_MEMORY),
        *(ExitCode.DAMAGED_FILE, ExitCode.INTERRUPTED, ExitCode.TERMINATED),
    }
)
"""After these another try with the same configuration ends the same, or is not wanted."""


def exit_code(error: Exception) -> ExitCode:
    """The code of an error; BUG of one that was not foreseen."""
    if isinstance(error, PersonaError):
        return error.exit_code
    if is_out_of_memory(error):
        return ExitCode.OUT_OF_MEMORY
    return ExitCode.DISK_OR_NETWORK if isinstance(error, OSError) else ExitCode.BUG


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was wanting, of a GPU or of the machine."""
    # torch names the two in two ways, in subclasses of RuntimeError or not.
    names_it = any(words in str(error) for words in ("out of memory", "can't allocate memory"))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and names_it)
