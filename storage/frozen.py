"""The base of every configuration: immutable, no unknown keys, and every field tells whether it decides a result.

A field decides what a result is, unless its type is marked `Annotated[…, HOW]`: then it says how or where the work is
done, such as workers, devices, batch sizes and folders. Names, digests and manifests are made of `content()` alone.
"""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

HOW: Final = "how the work is done or where files lie, not what comes out"
"""Marks the type of a field that changes no result: `workers: Annotated[PositiveInt, HOW] = 4`."""


class Frozen(BaseModel):
    """A validated, immutable record; the text under a field is its description in Prefect's forms."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def content(self) -> dict[str, Any]:
        """Every field that decides a result, as JSON-like values; fields marked HOW are left out at any depth."""
        plain = self.model_dump(mode="json")
        return {
            name: _content(getattr(self, name), plain[name])
            for name, field in type(self).model_fields.items()
            if name in plain and HOW not in field.metadata
        }


def _content(value: object, plain: Any) -> Any:  # noqa: ANN401 - JSON-like
    """`plain`, the dump of `value`, without what is marked HOW in records inside of it."""
    if isinstance(value, Frozen):
        return value.content()
    if isinstance(value, tuple | list):
        return [_content(item, dumped) for item, dumped in zip(value, plain, strict=True)]
    if isinstance(value, dict):
        return {key: _content(item, dumped) for item, (key, dumped) in zip(value.values(), plain.items(), strict=True)}
    return plain
