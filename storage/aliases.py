"""Names that point at versions of a model, such as `production`, and how each of them came to point there.

models/osdhuman/aliases/production/00001.json
                                   00002.json   the last one is where `production` points now

An alias and its history are the same files: a change is one small file that appears whole under the next number, and
nobody can take a number twice. So a kill at any moment leaves the alias either before the change or after it.
"""

from datetime import UTC, datetime
from typing import Literal

from storage.errors import InputError
from storage.frozen import Frozen
from storage.sealed import Content, read_sealed, write_once
from storage.store import Store

FORMAT_VERSION = 1

PRODUCTION = "production"
CANDIDATE = "candidate"

Kind = Literal["promote", "rollback"]


class AliasChange(Frozen):
    """One change of one alias."""

    number: int
    """Counts the changes of this alias from 1."""
    id: str
    """What asked for the change; asked again with the same id, nothing happens."""
    kind: Kind
    alias: str
    version: str
    """Where the alias points from now on."""
    previous: str | None
    """Where it pointed before; None for its first change."""
    who: str
    when: str
    """UTC, ISO 8601."""
    why: str


class AliasMovedError(InputError):
    """The alias points elsewhere than whoever wanted to move it believed."""


def history(store: Store, folder: str, alias: str) -> list[AliasChange]:
    """Every change of an alias, oldest first.

    Args:
        store: where the registry lies.
        folder: of the model, such as `models/osdhuman`.
        alias: its name.

    Raises:
        ValueError: a file among them was changed or is missing.
    """
    files = store.files(f"{folder}/aliases/{alias}")
    changes = [_change(read_sealed(store, path, FORMAT_VERSION)) for path in files]
    if [change.number for change in changes] != list(range(1, len(changes) + 1)):
        raise InputError(f"{folder}/aliases/{alias} has gaps in its numbers: restore the missing file from a copy")
    return changes


def _change(content: Content) -> AliasChange:
    return AliasChange(**{key: value for key, value in content.items() if key not in ("digest", "format_version")})


def points_at(changes: list[AliasChange]) -> str | None:
    """The version that an alias with this history points at."""
    return changes[-1].version if changes else None


def before(changes: list[AliasChange]) -> str | None:
    """The version that a rollback leads to: the one before the current was promoted; None if there is none.

    A second rollback goes one promotion further back and not forth again.
    """
    stack: list[str] = []
    for change in changes:
        if change.kind == "promote":
            stack.append(change.version)
        else:
            stack.pop()
    return stack[-2] if len(stack) > 1 else None


def move(
    store: Store,
    folder: str,
    alias: str,
    version: str,
    *,
    id: str,
    kind: Kind,
    who: str,
    why: str,
    expected: str | None,
) -> AliasChange:
    """Let an alias point at `version`; whoever comes second, or again with the same id, changes nothing.

    Args:
        store: where the registry lies; a local folder.
        folder: of the model, such as `models/osdhuman`.
        alias: its name.
        version: where it is to point.
        id: of the wish.
        kind: whether the version is new to the alias or was there before.
        who: wants it.
        why: in one sentence.
        expected: where it must point before.

    Raises:
        AliasMovedError: it points elsewhere; nothing was changed.
    """
    while True:
        changes = history(store, folder, alias)
        done = next((change for change in changes if change.id == id), None)
        if done:
            return done
        if points_at(changes) != expected:
            raise AliasMovedError(
                f"{alias} of {folder} points at {points_at(changes)} and not at {expected}: somebody changed it"
                " meanwhile; look at `persona models show` and decide anew"
            )
        change = AliasChange(
            number=len(changes) + 1,
            id=id,
            kind=kind,
            alias=alias,
            version=version,
            previous=expected,
            who=who,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            why=why,
        )
        content = {"format_version": FORMAT_VERSION, **change.model_dump()}
        if write_once(store, f"{folder}/aliases/{alias}/{change.number:05d}.json", content):
            return change
