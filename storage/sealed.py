"""Small JSON files that notice every change: each carries the digest of its own content."""

import hashlib
import json
import os
from typing import Any

from storage.digest import canonical_json
from storage.errors import DamagedFileError, InputError
from storage.store import Store, aside_of

Content = dict[str, Any]

RESTORE = "restore it from a copy"


def sealed(content: Content) -> bytes:
    """`content` as it is written: with its own digest, the SHA-256 of its canonical JSON without that field."""
    plain = json.loads(canonical_json({key: value for key, value in content.items() if key != "digest"}))
    plain["digest"] = hashlib.sha256(canonical_json(plain).encode()).hexdigest()
    return (json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_sealed(store: Store, path: str, format_version: int) -> Content:
    """The content of a file that was written once and for good.

    Raises:
        InputError: it is not there, or has another format.
        DamagedFileError: it is not as it was written.
    """
    if not store.exists(path):
        raise InputError(f"{path} is missing below {store.root}, or was never finished")
    content = _opened(store, path, RESTORE)
    if "digest" not in content:
        raise DamagedFileError(f"{path} was changed after it was written: its digest is missing; {RESTORE}")
    if content.get("format_version") != format_version:
        raise InputError(f"{path} has format {content.get('format_version')}, this version reads {format_version}")
    return content


def read_record(store: Store, path: str, remedy: str) -> Content:
    """The content of a file that `write_record` wrote, without its digest; older versions wrote none.

    Raises:
        DamagedFileError: it is not as it was written; `remedy` says what to do.
    """
    content = _opened(store, path, remedy)
    content.pop("digest", None)
    return content


def write_record(store: Store, path: str, content: Content) -> None:
    """Seal and write a file that may be replaced later: whole or not at all, and for good before this returns.

    What stands there already is not written again, so that a finished root can also be read where it cannot be written.
    """
    wanted = sealed(content)
    if not store.exists(path) or store.read_bytes(path) != wanted:
        store.write_text(path, wanted.decode())


def _opened(store: Store, path: str, remedy: str) -> Content:
    written = store.read_bytes(path)
    try:
        content = json.loads(written)
        # Comparing bytes, not values, notices a change of white space too.
        intact = isinstance(content, dict) and ("digest" not in content or sealed(content) == written)
    except (ValueError, RecursionError) as error:
        how = "is empty" if not written else "cannot be read any more"
        raise DamagedFileError(f"{path} below {store.root} {how}; it was changed after it was written: {remedy}") from (
            error
        )
    if not intact:
        raise DamagedFileError(
            f"{path} below {store.root} was changed after it was written, its digest does not fit its content: {remedy}"
        )
    return dict(content)


def write_once(store: Store, path: str, content: Content) -> bool:
    """Seal and write a file whole and for good, unless there is one already; says whether it did.

    Raises:
        ValueError: the root is on an object store, which cannot promise that.
    """
    target = store.local(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(target)
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
