"""The way to FiftyOne: its database, its folders, its server. Nothing else imports it, and it is imported late."""

import importlib
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

from dashboards.fiftyone.locked_app import TOKEN, app_token
from storage.errors import DiskOrNetworkError, InputError
from storage.extras import extra

FiftyOne = Any
"""The module `fiftyone`, which is an extra and has no types."""

DATABASE_URI = "FIFTYONE_DATABASE_URI"
DEFAULT_DATABASE_URI = "mongodb://127.0.0.1:27017"
PATIENCE_S = 3
START_S = 180

_QUIET = {
    "FIFTYONE_DO_NOT_TRACK": "true",
    "FIFTYONE_SHOW_PROGRESS_BARS": "false",
}


class DatabaseAwayError(DiskOrNetworkError):
    """MongoDB, in which FiftyOne keeps what it shows, does not answer."""


def settings(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment variables with which FiftyOne tells nobody and writes below `folder` alone.

    Args:
        folder: where FiftyOne may write.
        environment: what the user set; it wins, but for HOME.
    """
    home = Path(environment.get("HOME", folder))
    own_config = home / ".fiftyone/config.json"
    return {
        **_QUIET,
        DATABASE_URI: DEFAULT_DATABASE_URI,
        "FIFTYONE_DEFAULT_DATASET_DIR": str(folder / "datasets"),
        "FIFTYONE_PLUGINS_DIR": str(folder / "plugins"),
        **({"FIFTYONE_CONFIG_PATH": str(own_config)} if own_config.is_file() else {}),
        **{name: value for name, value in environment.items() if name.startswith("FIFTYONE_")},
        # Its own folder is a constant below HOME, which no variable moves.
        "HOME": str(folder),
    }


def open_fiftyone(folder: Path) -> FiftyOne:
    """The module `fiftyone`, connected to its database.

    Raises:
        ExtraMissingError: it is not installed.
        DatabaseAwayError: MongoDB does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = settings(folder)
    _knock(variables[DATABASE_URI])
    home = os.environ.get("HOME")
    os.environ.update(variables)
    try:
        with extra("browse"):
            return importlib.import_module("fiftyone")
    finally:
        if home is not None:  # torch keeps its weights below it
            os.environ["HOME"] = home


def _knock(uri: str) -> None:
    """Ask MongoDB for a sign of life before FiftyOne does, which would wait for half a minute and show a traceback."""
    with extra("browse"):
        import pymongo
        from pymongo.errors import PyMongoError

    try:
        client: Any = pymongo.MongoClient(uri, serverSelectionTimeoutMS=PATIENCE_S * 1000)
        with client:
            client.admin.command("ping")
    except (PyMongoError, ValueError) as error:
        place = urlsplit(uri).netloc.rpartition("@")[2] or uri
        raise DatabaseAwayError(
            f"MongoDB at {place} does not answer: start it, or name another one in {DATABASE_URI}; "
            "the dataset itself is untouched"
        ) from error


def start_app(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The App as a process of its own on 127.0.0.1, once it answers.

    Raises:
        ValueError: the port is taken, or the App does not start; its log tells more.
    """
    log = folder / "app.log"
    command = [sys.executable, "-P", "-m", "dashboards.fiftyone.locked_app", "--port", str(port), str(folder)]
    environment = {**os.environ, **settings(folder), TOKEN: app_token()}
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    deadline = monotonic() + START_S
    while server.poll() is None and monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2):
                return server
        except OSError:
            sleep(0.2)
    server.kill()
    raise InputError(f"the App does not start on port {port}; is it taken? {log} says more")
