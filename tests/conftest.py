"""Real photos and real parts that lie beside the checkout, in `../shared`."""

import os
import shutil
import sys
from pathlib import Path

import pytest

# Before torch is imported, and for every process that a test starts: networks of this size gain nothing from a second
# thread, and two threads that share a busy core mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Every process that a test starts imports torch and more: without compiled files that takes three times as long.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

SHARED = Path(os.environ.get("PERSONA_TEST_SHARED", Path(__file__).parent.parent.parent / "shared"))


# As it was before any test: libraries under test set variables that would reach every process started later.
_ENVIRONMENT = dict(os.environ)

# pyiqa reads this once, when the first test imports it: it must be the folder that all of them share.
WEIGHTS_CACHE = Path(os.environ.get("PERSONA_TEST_CACHE") or Path.home() / ".cache" / "personaforge-tests")
os.environ["TORCH_HOME"] = str(WEIGHTS_CACHE)


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
def shared_cases() -> Path:
    """Files as people have them, and `make.py`, which makes more of them."""
    return shared("cases")


@pytest.fixture(scope="session")
def shared_tools() -> Path:
    """Scripts that bring real weights and servers."""
    return shared("tools")


SERVERS = {"prefect_server", "mongodb", "chromium"}


def pytest_collection_modifyitems(items):
    """Fast ones first: a file whose tests start servers or are marked slow comes after all others."""
    slow = {item.path for item in items if SERVERS & set(item.fixturenames) or item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path in slow)


FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def chromium():
    """A real headless Chromium, driven by Playwright; not for the whole session, since its event loop keeps running."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        message = "no Chromium on this machine: install Debian's package chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()
