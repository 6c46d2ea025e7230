"""Short names for content: what a result depends on decides what its file is called."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

READ_BYTES = 1 << 20


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")


def canonical_json(value: Any) -> str:  # noqa: ANN401 - any JSON-like value
    """JSON with sorted keys and no white space: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain, allow_nan=False)


def digest(*parts: object) -> str:
    """12 hexadecimal digits (48 bits) of BLAKE2b over the canonical JSON of `parts`."""
    return hashlib.blake2b(canonical_json(parts).encode(), digest_size=6).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a local file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
