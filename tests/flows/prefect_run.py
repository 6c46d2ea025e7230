"""The console script as a user starts it, and questions to the Prefect server that it reported to.

The user's current folder holds scripts of their own, some called like our packages: none may be imported by us.
"""

import base64
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.waiting import PATIENCE_S, wait_until

SCRIPTS_OF_THE_USER = ("model", "tasks", "flows", "storage", "dashboards", "configs", "random", "queue", "yaml")


def persona(environment, *arguments):
    command = [Path(sys.executable).with_name("persona"), *map(str, arguments)]
    with TemporaryDirectory() as folder:
        put_scripts_of_the_user(Path(folder))
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)


def put_scripts_of_the_user(folder):
    for name in SCRIPTS_OF_THE_USER:
        (folder / f"{name}.py").write_text(f"raise SystemExit('the {name}.py of the user was imported')")


def ask(environment, path, body):
    """What the server answers to somebody who knows its password; a busy one is asked again."""
    password = base64.b64encode(environment["PREFECT_API_AUTH_STRING"].encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {password}"}
    address = f"{environment['PREFECT_API_URL']}/{path}"
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)

    def answer():
        try:
            return urllib.request.urlopen(request, timeout=PATIENCE_S)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise

    return json.load(wait_until(answer, otherwise=f"{address} stays busy"))
