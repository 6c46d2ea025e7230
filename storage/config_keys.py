"""Every key of a configuration with its text, its type in words and its default, read from the model itself."""

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
"""A JSON schema, or a part of one."""

REQUIRED = object()
"""Stands for the default of a key that has none."""


@dataclass(frozen=True, slots=True)
class Key:
    """One value that can be set."""

    path: str  # dotted, as `--set` takes it; 0 stands for any place in a list
    kind: str  # what is taken, in words
    text: str
    default: Any  # REQUIRED where there is none
    where: str = ""  # the format of a source, where only that one has the key


def keys_of(model: type[BaseModel]) -> list[Key]:
    """Every key of a configuration, in the order of its fields; those of parts directly behind each other."""
    schema = model.model_json_schema()
    return list(_below(schema, schema, ()))


def similar_keys(model: type[BaseModel], path: list[str], known: list[str]) -> list[str]:
    """Dotted keys that may be meant by a key that is not known.

    Nearly the same beside it comes first, then nearly the same elsewhere, then what is at least alike.

    Args:
        model: of the whole configuration.
        path: to the unknown key.
        known: what is known at that place.
    """
    *parents, name = path
    here = tuple("0" if part.isdigit() else part for part in parents)
    places = {tuple(key.path.split(".")) for key in keys_of(model)}
    places |= {place[:i] for place in places for i in range(1, len(place))}
    elsewhere = [place for place in places if place[:-1] != here and place[-1] != "0"]
    for cutoff in (0.8, 0.6):
        if beside := difflib.get_close_matches(name, known, n=1, cutoff=cutoff):
            return [".".join((*parents, beside[0]))]
        close = difflib.get_close_matches(name, {place[-1] for place in elsewhere}, n=1, cutoff=(1 + cutoff) / 2)
        if found := [place for place in elsewhere if place[-1] in close]:
            return [".".join(place) for place in sorted(found, key=lambda place: (len(place), place))[:3]]
    return []


def _below(whole: Schema, part: Schema, path: tuple[str, ...], where: str = "") -> Iterator[Key]:
    """The keys of an object's properties."""
    for name, found in part.get("properties", {}).items():
        child = _resolved(whole, found)
        here = (*path, name)
        variants = child.get("items", {}).get("oneOf", [])
        if "properties" in child:
            yield from _below(whole, child, here, where)
        elif variants:
            for variant in (_resolved(whole, variant) for variant in variants):
                yield from _below(whole, variant, (*here, "0"), _format(variant))
        else:
            default = REQUIRED if name in part.get("required", ()) else child.get("default")
            text = " ".join(child.get("description", "").split())
            yield Key(".".join(here), _words(whole, child), text, default, where)


def _resolved(whole: Schema, part: Schema) -> Schema:
    """A part with what it refers to, and what `| None` wraps, in its place; its own text and default win."""
    if "anyOf" in part:
        named = [other for other in part["anyOf"] if other.get("type") != "null"]
        if len(named) == 1:
            part = {**named[0], **{key: value for key, value in part.items() if key != "anyOf"}}
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        part = {**whole["$defs"][name], **{key: value for key, value in part.items() if key != "$ref"}}
    return part


def _format(variant: Schema) -> str:
    """What tells a variant of a list's items: the one value of the key that decides."""
    constants = (about["const"] for about in variant["properties"].values() if "const" in about)
    return str(next(constants, ""))


_KINDS = {"file-path": "file", "directory-path": "folder", "string": "text", "boolean": "true | false"}
_BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "multipleOf": "multiple of",
}


def _words(whole: Schema, part: Schema) -> str:
    """What a leaf takes: `number, ≥ 0, ≤ 1`, `auto | cpu`, `list of text`."""
    if "const" in part:
        return str(part["const"])
    if "enum" in part:
        return " | ".join(map(str, part["enum"]))
    if "anyOf" in part or "oneOf" in part:
        members = part.get("anyOf") or part["oneOf"]
        return " or ".join(dict.fromkeys(_words(whole, _resolved(whole, member)) for member in members))
    if part.get("type") == "array":
        items: Schema = part.get("items") or part.get("prefixItems", [{}])[0]
        return f"list of {_words(whole, _resolved(whole, items))}"
    if "additionalProperties" in part and isinstance(part["additionalProperties"], dict):
        return f"name: {_words(whole, _resolved(whole, part['additionalProperties']))}"
    kind: str = part.get("format") or part.get("type") or "value"
    kind = _KINDS.get(kind, kind)
    return ", ".join([kind, *(f"{sign} {part[bound]:g}" for bound, sign in _BOUNDS.items() if bound in part)])


def shown(value: Any) -> str:  # noqa: ANN401 - JSON-like
    """A value as it can be written in a YAML file or behind `--set KEY=`."""
    if value is None:
        return "null"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
