"""The base of every configuration: immutable, and an unknown key is an error instead of a silent default."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A validated, immutable record; the text under a field is its description in Prefect's forms."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
