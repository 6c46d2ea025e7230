"""Imports point one way: flows → tasks → (model, storage), flows → dashboards → storage."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "storage": set(),
    "model": {"storage"},
    "tasks": {"model", "storage"},
    "dashboards": {"storage"},
    "flows": {"tasks", "model", "storage", "dashboards"},
}


def imports_of(path: Path) -> set[str]:
    """Top-level names of every module that a file imports, lazily or not."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def test_imports_point_one_way():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for layer, allowed in MAY_IMPORT.items()
        for path in (ROOT / layer).rglob("*.py")
        for name in imports_of(path) & MAY_IMPORT.keys() - allowed - {layer}
    ]
    assert not wrong, "\n".join(wrong)


def test_workers_never_import_prefect_or_fiftyone():
    heavy = {"prefect", "fiftyone"}
    wrong = [
        str(path.relative_to(ROOT))
        for layer in ("storage", "model", "tasks")
        for path in (ROOT / layer).rglob("*.py")
        if imports_of(path) & heavy
    ]
    assert not wrong, wrong
