"""Arguments that several commands share."""

import argparse
from pathlib import Path
from typing import Any

Commands = Any
"""What `ArgumentParser.add_subparsers` gives; argparse has no public name for it."""


def add_config(parser: argparse.ArgumentParser, example: str) -> None:
    """A YAML file, and single keys of it on the command line."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help=f"a YAML file, such as {example}")
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
