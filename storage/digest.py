"""Short names for content: what a result depends on decides what its file is called."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash
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


class RowsDigest:
    """Digest of a set of rows, however they are ordered or spread over shards: the sum of the rows' own digests.

    128 bits of XXH3 per row, which is no defence against somebody who wants two sets to collide.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row in: the bytes of its column `image` as they are, everything else as canonical JSON."""
        picture = row.get("image")
        rest = canonical_json({name: value for name, value in row.items() if name != "image"})
        row_digest = xxhash.xxh3_128(rest.encode())
        if picture is not None:
            row_digest.update(picture["bytes"])
        self._add(row_digest.intdigest())

    def add_digest(self, hexadecimal: str) -> None:
        """Count in what another such digest counted."""
        self._add(int(hexadecimal, 16))

    def _add(self, number: int) -> None:
        self._sum = (self._sum + number) % (1 << 128)

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._sum:032x}"


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a local file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
