"""Real photos and real parts that lie beside the checkout, in `../shared`."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("PERSONA_TEST_SHARED", Path(__file__).parent.parent.parent / "shared"))


# As it was before any test: libraries under test set variables that would reach every process started later.
_ENVIRONMENT = dict(os.environ)


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """The environment variables that the tests were started with."""
    return dict(_ENVIRONMENT)


def shared(folder: str) -> Path:
    """A folder of `../shared`; without it a test is skipped, except in CI, where nothing may be left out."""
    path = SHARED / folder
    if not path.is_dir():
        message = f"{path} is not there: clone it beside the project, or set PERSONA_TEST_SHARED"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos with real boxes."""
    return shared("data")


@pytest.fixture(scope="session")
def shared_tools() -> Path:
    """Scripts that bring real weights and servers."""
    return shared("tools")
