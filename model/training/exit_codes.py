"""How a training ended, told by its exit code."""

from enum import IntEnum

from model.network.weights import WeightsUnavailableError


class NonFiniteLossError(ArithmeticError):
    """A loss or a gradient is NaN or infinite; no weight was changed by it. The message names the crops."""


class ExitCode(IntEnum):
    """Exit codes of `python -m model.train`; any other one is a kill, which `--resume` may overcome."""

    SUCCESS = 0
    CRASH = 1
    BAD_INPUT = 2
    WEIGHTS_MISSING = 3
    FILE_SYSTEM = 7
    NON_FINITE_LOSS = 8
    OUT_OF_MEMORY = 9

    @property
    def meaning(self) -> str:
        """The code in one sentence, with the remedy."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.SUCCESS: "The training is complete.",
    ExitCode.CRASH: "The training crashed, as its traceback tells: start again with --resume, and report it if it does "
    "so again.",
    ExitCode.BAD_INPUT: "Configuration, snapshot or warm start cannot be used: correct what the message names.",
    ExitCode.WEIGHTS_MISSING: "Weights of base, image encoder or LPIPS are missing: put them where the message says.",
    ExitCode.FILE_SYSTEM: "The file system refused: make room, then start again with --resume.",
    ExitCode.NON_FINITE_LOSS: "A loss was not finite, and was kept from the weights: lower the learning rate, or look "
    "at the crops that the message names.",
    ExitCode.OUT_OF_MEMORY: "The memory was not enough: raise accumulation, or switch on gradient_checkpointing.",
}

FINAL = frozenset({ExitCode.BAD_INPUT, ExitCode.WEIGHTS_MISSING, ExitCode.NON_FINITE_LOSS})
"""After these another try with the same configuration ends the same."""


def exit_code(error: Exception) -> ExitCode:
    """The code of an error; CRASH of one that was not foreseen."""
    kinds: list[tuple[type[Exception], ExitCode]] = [
        (NonFiniteLossError, ExitCode.NON_FINITE_LOSS),
        (WeightsUnavailableError, ExitCode.WEIGHTS_MISSING),
        (ValueError, ExitCode.BAD_INPUT),
        (FileNotFoundError, ExitCode.BAD_INPUT),
        (OSError, ExitCode.FILE_SYSTEM),
    ]
    if is_out_of_memory(error):
        return ExitCode.OUT_OF_MEMORY
    return next((code for kind, code in kinds if isinstance(error, kind)), ExitCode.CRASH)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was wanting, of a GPU or of the machine."""
    # torch names the two in two ways, in subclasses of RuntimeError or not.
    names_it = any(words in str(error) for words in ("out of memory", "can't allocate memory"))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and names_it)
