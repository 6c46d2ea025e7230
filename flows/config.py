"""The configuration of a curate run: every stage's own, composed; read from YAML and `--set key=value`."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, PositiveInt, ValidationError, model_validator

from flows.ray_workers import ClusterConfig
from storage.frozen import Frozen
from tasks.choose import CropConfig, Share
from tasks.person_detector import DetectConfig
from tasks.photo import PhotoConfig
from tasks.publish import PublishConfig
from tasks.score import ScoreConfig
from tasks.sources import AnySource
from tasks.verdicts import SelectConfig


class ConfigError(ValueError):
    """The configuration cannot be used; the message is one sentence with key, value and remedy."""


class CurateConfig(Frozen):
    """Annotated photos in, an explained snapshot of person crops out."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Name of the dataset: the first part of every snapshot's name."""
    root: str
    """Where everything is kept: a folder, or an s3:// or gs:// address."""
    workers: PositiveInt = os.cpu_count() or 1
    """Worker processes on this machine."""
    network_workers: PositiveInt | None = None
    """Worker processes of detect and score, each with a copy of the networks: 1 or 2 on a GPU; empty = `workers`."""
    cluster: ClusterConfig | None = None
    """A Ray cluster that takes the shards instead."""
    photos_per_shard: PositiveInt = 512
    """How many photos a worker takes at a time, about."""
    max_failed_share: Share = 0.05
    """A run ends with an error when a larger share of a source's photos cannot be read."""
    sources: tuple[AnySource, ...] = Field(min_length=1)
    """Where the photos come from."""
    photo: PhotoConfig = PhotoConfig()
    detect: DetectConfig = DetectConfig()
    crop: CropConfig = CropConfig()
    score: ScoreConfig = ScoreConfig()
    select: SelectConfig = SelectConfig()
    publish: PublishConfig = PublishConfig()

    @model_validator(mode="after")
    def _names_agree(self) -> "CurateConfig":
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named {twice[0]!r}: give each its own name")
        unscored = sorted(self.select.limits.keys() - set(self.score.metrics))
        if unscored:
            raise ValueError(f"select.limits names {unscored[0]!r}, which score.metrics does not compute: add it there")
        return self


def load_config(path: Path, assignments: Sequence[str] = ()) -> CurateConfig:
    """The validated configuration of a YAML file.

    Args:
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
    return validated(values, str(path))


def validated(values: dict[str, Any], origin: str) -> CurateConfig:
    """`values` as a configuration; `origin` names them in the message.

    Raises:
        ConfigError: one sentence that names key, value and remedy.
    """
    try:
        return CurateConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_sentence(error)}") from error


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


def _sentence(error: ValidationError) -> str:
    """The first fault in one sentence; how many more there are, if any."""
    fault, more = error.errors()[0], error.error_count() - 1
    path = [str(part) for part in fault["loc"]]
    if len(path) > 2 and path[0] == "sources":
        path.pop(2)  # pydantic puts the format in between
    key, value = ".".join(path), fault["input"]
    if fault["type"] == "extra_forbidden":
        known = _known_keys(path[:-1], fault["loc"])
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


def _known_keys(path: list[str], location: tuple[Any, ...]) -> list[str]:
    """Keys of the configuration at a path; within a source, those of its format."""
    model: Any = CurateConfig
    if path[:1] == ["sources"]:
        return sorted(
            key
            for s in _members(AnySource)
            if s.model_fields["format"].default == location[2]
            for key in s.model_fields
        )
    for part in path:
        field = model.model_fields.get(part)
        model = next((m for m in _members(field.annotation) if issubclass(m, BaseModel)), None) if field else None
        if model is None:
            return []
    return sorted(model.model_fields)


def _members(annotation: Any) -> list[Any]:  # noqa: ANN401
    """The classes in an annotation such as `Annotated[A | B, ...]`."""
    if isinstance(annotation, type):
        return [annotation]
    return [m for a in get_args(annotation) if isinstance(a, type) or get_args(a) for m in _members(a)]
