"""What `persona config` shows: every key with its sentence, and a configuration with its defaults filled in."""

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flows.cli.config_kinds import model_of
from storage.config_file import load_config
from storage.config_keys import REQUIRED, keys_of, shown

WIDTH = 100


def show_schema(kind: str, as_json: bool) -> int:
    """Print every key of a kind of configuration."""
    model = model_of(kind)
    if as_json:
        print(json.dumps(model.model_json_schema(), indent=1, ensure_ascii=False))
        return 0
    format_before = ""
    for key in keys_of(model):
        if key.where != format_before and key.where:
            print(f"\n# sources of format {key.where}")
        format_before = key.where
        default = "required" if key.default is REQUIRED else shown(key.default)
        print(f"{key.path}: {default}   ({key.kind})")
        if key.text:
            print(textwrap.indent(textwrap.fill(key.text, WIDTH), "    "))
    return 0


def show_config(kind: str, path: Path, assignments: Sequence[str]) -> int:
    """Print a configuration as YAML that can be used as it is, every value that nobody gave marked as a default."""
    config = load_config(model_of(kind), path, assignments)
    print(f"# {path} with its defaults")
    print("\n".join(_lines(config.model_dump(mode="json"), config.model_dump(mode="json", exclude_unset=True), "")))
    return 0


def _lines(values: dict[str, Any], given: Any, indent: str) -> Iterator[str]:  # noqa: ANN401 - JSON-like
    """The lines of one mapping; `given` is the same without what are defaults."""
    for name, value in values.items():
        by_user = isinstance(given, dict) and name in given
        own = given[name] if by_user else None
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, own, f"{indent}  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{name}:"
            for i, item in enumerate(value):
                first, *rest = _lines(item, own[i] if own else None, f"{indent}    ")
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
        else:
            yield f"{indent}{name}: {_yaml(value)}{'' if by_user else '  # default'}"


def _yaml(value: Any) -> str:  # noqa: ANN401 - JSON-like
    """A value on one line; JSON is YAML, but for its bare words text needs no quotes."""
    plain = isinstance(value, str) and value.replace("/", "").replace("-", "").replace("_", "").isalpha()
    return (
        str(value)
        if plain and value not in ("true", "false", "null", "yes", "no", "on", "off")
        else json.dumps(value, ensure_ascii=False)
    )
