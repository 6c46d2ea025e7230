"""The documents build without a warning, every link within them leads somewhere, and their tables are complete."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from storage.errors import ExitCode
from storage.reasons import Reason

PROJECT = Path(__file__).parent.parent
PAGES = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")]


def test_the_site_builds_and_its_links_lead_somewhere(tmp_path):
    pytest.importorskip("myst_parser")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    linked = {link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    missing = [link for link in linked if link and not (page.parent / link).exists()]
    named = set(
        re.findall(r"`((?:flows|tasks|model|storage|dashboards|configs|benchmarks|tests|kubernetes)/[\w./-]+)`", text)
    )
    missing += [path for path in named if not (PROJECT / path).exists()]
    assert not missing


def commands_of_the_pages():
    """Every line of a code block that starts with `persona`, without its comment and its ellipses."""
    for page in PAGES:
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
            for line in block.splitlines():
                if re.match(r"persona [a-z]", line):
                    yield pytest.param(shlex.split(line, comments=True)[1:], id=f"{page.name}: {line[:60]}")


@pytest.mark.parametrize("words", commands_of_the_pages())
def test_commands_of_the_pages_exist_with_their_options(words):
    from flows.cli.__main__ import app

    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    assert not getattr(command, "commands", {}), f"there is no command {words[:1]}"
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("-")} <= known


def test_every_reason_and_exit_code_is_documented_with_its_sentence():
    text = (PROJECT / "docs/stages.md").read_text(encoding="utf-8")
    missing = [r for r in Reason if f"| `{r}` | {r.outcome} | {r.sentence} |" not in text]
    missing += [code.name for code in ExitCode if f"| {int(code)} | `{code.name}` |" not in text]
    assert not missing
