"""JSON files that are written once and notice every change: each carries the digest of its own content."""

import hashlib
import json
import os
from typing import Any
from uuid import uuid4

from storage.digest import canonical_json
from storage.errors import InputError
from storage.store import PART, Store

Content = dict[str, Any]


def sealed(content: Content) -> bytes:
    """`content` as it is written: with its own digest, the SHA-256 of its canonical JSON without that field."""
    plain = json.loads(canonical_json({key: value for key, value in content.items() if key != "digest"}))
    plain["digest"] = hashlib.sha256(canonical_json(plain).encode()).hexdigest()
    return (json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_sealed(store: Store, path: str, format_version: int) -> Content:
    """The content of a sealed file.

    Raises:
        ValueError: it is not there, is not as it was written, or has another format; one sentence.
    """
    if not store.exists(path):
        raise InputError(f"{path} is missing below {store.root}, or was never finished")
    with store.filesystem.open_input_file(store.full(path)) as file:
        written = file.read()
    try:
        content: Content = json.loads(written)
        # Comparing bytes, not values, notices a change of white space too.
        intact = sealed(content) == written
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path} was changed after it was written: it cannot be read any more") from error
    if not intact:
        raise InputError(f"{path} was changed after it was written: its digest does not fit its content")
    if content.get("format_version") != format_version:
        raise InputError(f"{path} has format {content.get('format_version')}, this version reads {format_version}")
    return content


def write_once(store: Store, path: str, content: Content) -> bool:
    """Seal and write a file whole and for good, unless there is one already; says whether it did.

    Raises:
        ValueError: the root is on an object store, which cannot promise that.
    """
    target = store.local(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.{uuid4().hex}{PART}")
    try:
        with aside.open("wb") as file:
            file.write(sealed(content))
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, target)  # unlike a rename, this fails where the name is taken
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True
