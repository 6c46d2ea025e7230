"""Which code made something."""

import subprocess
from importlib.metadata import version
from pathlib import Path

DISTRIBUTION = "personaforge-crops"


def code_version() -> str:
    """The package's version and, in a checkout, the commit; `+changed` where files differ from it."""
    number = version(DISTRIBUTION)
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+changed"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return number
    return f"{number} {described.stdout.strip()}"
