"""Configuration from YAML files and `--set key=value`, with every fault told in one sentence."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from storage.errors import InputError
from storage.frozen import Frozen

Config = TypeVar("Config", bound=Frozen)


class ConfigError(InputError):
    """The configuration cannot be used; the message is one sentence with key, value and remedy."""


def load_config(kind: type[Config], path: Path, assignments: Sequence[str] = ()) -> Config:
    """The validated configuration of a YAML file.

    Args:
        kind: what it configures.
        path: of the file.
        assignments: `key=value` with a dotted key, such as `select.top_share=0.5` or `sources.0.photos=photos`;
            values are read as YAML.

    Raises:
        ConfigError: one sentence that names key, value and remedy.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: give the path of a YAML file, such as configs/demo.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): give the path of a YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no keys: it must be a YAML mapping, such as configs/demo.yaml")
    for assignment in assignments:
        _assign(values, assignment)
    return validated(kind, values, str(path))


def validated(kind: type[Config], values: dict[str, Any], origin: str) -> Config:
    """`values` as a configuration of that kind; `origin` names them in the message.

    Raises:
        ConfigError: one sentence that names key, value and remedy.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_sentence(kind, error)}") from error


def _assign(values: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {assignment}: write it as key=value, such as --set select.top_share=0.5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment}: {text!r} is not a YAML value, put it into quotes") from error
    at: Any = values
    *parents, last = key.split(".")
    for i, part in enumerate(parents):
        at = _child(at, part, assignment)
        if at is None:
            at = {}
            _put(values, parents[: i + 1], at)
    if isinstance(at, list):
        _child(at, last, assignment)
        at[int(last)] = value
    elif isinstance(at, dict):
        at[last] = value
    else:
        raise ConfigError(f"--set {assignment}: {'.'.join(parents)} has no keys below it, its value is {at!r}")


def _child(at: Any, part: str, assignment: str) -> Any:  # noqa: ANN401
    if isinstance(at, list):
        if not part.isdigit() or int(part) >= len(at):
            raise ConfigError(f"--set {assignment}: {part!r} must be a number from 0 to {len(at) - 1}")
        return at[int(part)]
    if isinstance(at, dict):
        return at.get(part)
    raise ConfigError(f"--set {assignment}: there are no keys below the value {at!r}")


def _put(values: Any, path: list[str], value: Any) -> None:  # noqa: ANN401
    for part in path[:-1]:
        values = values[int(part)] if isinstance(values, list) else values[part]
    values[path[-1]] = value


def _sentence(kind: type[BaseModel], error: ValidationError) -> str:
    """The first fault in one sentence; how many more there are, if any."""
    fault, more = error.errors()[0], error.error_count() - 1
    path, known = _path_and_known_keys(kind, fault["loc"])
    key, value = ".".join(path), fault["input"]
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(path[-1], known, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        text = f"unknown key {key} (value {value!r}); {remedy}"
    elif fault["type"] == "missing":
        text = f"key {key} is missing; add it"
    elif fault["type"] in ("path_not_file", "path_not_directory"):
        what = "file" if fault["type"] == "path_not_file" else "folder"
        text = f"{key} is {str(value)!r}, which is no {what}; correct the path (relative to {Path.cwd()})"
    elif fault["type"] == "value_error":
        text = f"{key + ': ' if key else ''}{fault['ctx']['error']}"
    else:
        text = f"{key} is {value!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
    return text + (f" (and {more} more)" if more else "")


def _path_and_known_keys(kind: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """Where a fault lies as the user writes it, and which keys are known there.

    In a union that a key such as `format` decides, pydantic's location holds that key's value after the index.
    """
    path: list[str] = []
    here, parents = [kind], [kind]
    for part in location:
        decided = [model for model in here if part in _tags(model)]
        if len(here) > 1 and decided:
            here = decided
            continue
        path.append(str(part))
        parents = here
        if isinstance(part, str):
            fields = [model.model_fields[part] for model in here if part in model.model_fields]
            here = [m for field in fields for m in _members(field.annotation) if issubclass(m, BaseModel)]
    return path, sorted({key for model in parents for key in model.model_fields})


def _tags(model: type[BaseModel]) -> set[Any]:
    return {field.default for field in model.model_fields.values() if isinstance(field.default, str)}


def _members(annotation: Any) -> list[Any]:  # noqa: ANN401
    """The classes in an annotation such as `Annotated[A | B, ...]`."""
    if isinstance(annotation, type):
        return [annotation]
    return [m for a in get_args(annotation) if isinstance(a, type) or get_args(a) for m in _members(a)]
