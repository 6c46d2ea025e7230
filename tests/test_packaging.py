"""What is installed: every import stands in pyproject.toml where it is needed, and the lock holds all of it."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_layers import MAY_IMPORT, imports_of

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BASE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
ROOMS = {
    # who imports what an extra installs → the extra
    "model/": "train",
    "tasks/detect/": "detect",
    "dashboards/fiftyone/": "browse",
    "flows/execution/ray_cluster.py": "cluster",
    "tasks/images/other_formats.py": "heic",
}
COMES_WITH = {
    # what is in no list, since a package that is always brings it → that package
    "huggingface-hub": "datasets",
    "httpx": "prefect",
    "pydantic-core": "pydantic",
    "pymongo": "fiftyone",
    "onnxruntime": "ultralytics",  # asks for it where weights are ONNX
}


def names(requirements):
    return {canonicalize_name(requirement.name) for requirement in requirements}


def test_every_import_is_declared_where_it_is_needed():
    distributions, wrong = packages_distributions(), []
    for path in (path for layer in MAY_IMPORT for path in (ROOT / layer).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        extra = next((extra for room, extra in ROOMS.items() if place.startswith(room)), None)
        declared = names(BASE + EXTRAS.get(extra, []))
        for module in imports_of(path) - MAY_IMPORT.keys() - sys.stdlib_module_names:
            found = {canonicalize_name(name) for name in distributions.get(module, [module])}
            if not (found | {COMES_WITH.get(name) for name in found}) & declared:
                wrong.append(f"{place} imports {module}, which neither the base nor {extra or 'an extra'} declares")
    assert not wrong, "\n".join(wrong)


def locked():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = (re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([^ ;]+)", line) for line in lines)
    return {canonicalize_name(pin[1]): pin[2] for pin in pins if pin}


@pytest.mark.parametrize("part", ["base", *EXTRAS])
def test_the_lock_fits(part):
    versions = locked()
    for requirement in BASE if part == "base" else EXTRAS[part]:
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not in requirements.txt: make lock"
        assert requirement.specifier.contains(versions[name]), f"{requirement} is locked to {versions[name]}: make lock"


def test_the_lock_has_one_opencv_hashes_and_no_address():
    text = (ROOT / "requirements.txt").read_text()
    assert [name for name in locked() if name.startswith("opencv")] == ["opencv-python-headless"]
    assert text.count("--hash=sha256:") >= len(locked())
    assert not re.search(r"https?:|index-url|find-links|file:", text)


HIDDEN = """
import sys
from pathlib import Path
for package in sys.argv[2].split(","):
    sys.modules[package] = None  # as if it were not installed

from flows.cli import __main__  # what curates a dataset needs none of them
import flows.curate, flows.execution.processes, tasks.metrics.iqa, dashboards.report.report
from flows.execution.ray_cluster import ClusterConfig, run_jobs_on_ray
from tasks.detect.person_detector import DetectConfig, check_weights
from dashboards.fiftyone.app import open_fiftyone
from storage.errors import ExitCode
from storage.extras import ExtraMissingError

def restore():
    import model.restoration.restore

for door in (
    lambda: check_weights(DetectConfig(weights="yolo11m.pt")),
    restore,
    lambda: open_fiftyone(Path(sys.argv[1])),
    lambda: run_jobs_on_ray([None], ClusterConfig(address="auto"), print),
):
    try:
        door()
    except ExtraMissingError as error:
        assert error.exit_code == ExitCode.BAD_INPUT
        print(error)
"""


def test_without_the_extras_what_needs_one_says_so_in_a_sentence(tmp_path):
    hidden = "ultralytics,diffusers,peft,lpips,fiftyone,pymongo,ray"
    done = subprocess.run([sys.executable, "-c", HIDDEN, tmp_path, hidden], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [re.search(r"EXTRAS=(\w+)", line)[1] for line in said] == ["detect", "train", "browse", "cluster"], said


def test_no_install_line_fetches_a_strangers_package():
    """`personaforge` on the package index is somebody else's: nothing may say or run an installation by that name."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    lines = [
        f"{name}: {line}"
        for name in files
        if name.endswith((".py", ".md", ".toml", ".yaml", ".yml", "file", "run")) and name != "CHANGELOG.md"
        for line in (ROOT / name).read_text().splitlines()
        if re.search(r"(install|download|add|uvx?|pipx) .*personaforge(?!-crops)\b", line)
    ]
    assert not lines, lines
