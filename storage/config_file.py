"""Configuration from YAML files and `--set key=value`, with every fault told in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from storage.config_keys import similar_keys
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


@dataclass(frozen=True)
class _Fault:
    """One thing that is wrong with a configuration, as pydantic says it and as the user wrote it."""

    about: ErrorDetails
    path: list[str]
    meant: list[str]  # for a key that is not known: keys that may be meant
    known: list[str]  # there


def _sentence(kind: type[BaseModel], error: ValidationError) -> str:
    """The first fault in one sentence; how many more there are, if any."""
    first, *others = _faults(kind, error)
    about, key, value = first.about, ".".join(first.path), first.about["input"]
    if about["type"] == "extra_forbidden":
        known = f"known here: {', '.join(first.known)}"
        remedy = f"did you mean {' or '.join(first.meant)}?" if first.meant else known
        text = f"unknown key {key} (value {value!r}); {remedy}"
    elif about["type"] == "missing":
        text = f"key {key} is missing; add it"
    elif about["type"] in ("path_not_file", "path_not_directory"):
        what = "file" if about["type"] == "path_not_file" else "folder"
        text = f"{key} is {str(value)!r}, which is no {what}; correct the path (relative to {Path.cwd()})"
    elif about["type"] == "value_error":
        text = f"{key + ': ' if key else ''}{about['ctx']['error']}"
    else:
        text = f"{key} is {value!r}: {about['msg'][0].lower()}{about['msg'][1:]}"
    return text + (f" (and {len(others)} more)" if others else "")


def _faults(kind: type[BaseModel], error: ValidationError) -> list[_Fault]:
    """What the user did wrong, unknown keys first: each once, and not what only follows from it.

    A value that fits no member of a union is one fault, a misspelt key is not also missing under its right name, and a
    list is not also too short because its only item is wrong.
    """
    faults: dict[str, _Fault] = {}
    for about in error.errors():
        path, known = _path_and_known_keys(kind, about["loc"])
        meant = similar_keys(kind, path, known) if about["type"] == "extra_forbidden" else []
        faults.setdefault(".".join(path), _Fault(about, path, meant, known))
    meant_somewhere = {key for fault in faults.values() for key in fault.meant}
    own = [
        fault
        for key, fault in faults.items()
        if not (fault.about["type"] == "missing" and key in meant_somewhere)
        and not any(other.startswith(f"{key}.") for other in faults)
    ]
    return sorted(own, key=lambda fault: fault.about["type"] != "extra_forbidden")


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
