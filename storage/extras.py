"""Parts of the project that are installed only where somebody uses them: the extras of `pyproject.toml`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from storage.errors import InputError

Extra = Literal["detect", "train", "browse", "cluster"]


class ExtraMissingError(InputError):
    """Something was asked for whose packages are not installed here."""


@contextmanager
def extra(name: Extra) -> Iterator[None]:
    """Import in here what only the extra `name` installs.

    Raises:
        ExtraMissingError: it is not installed; one sentence with the remedy.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissingError(
            f"this needs the package {error.name}, which is not installed: run `make install EXTRAS={name}` in the"
            " project's folder"
        ) from error
