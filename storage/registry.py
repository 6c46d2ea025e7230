"""Models that were trained: every version stays as it is, and aliases say which of them is used.

models/osdhuman/
    v-0123456789ab/
        model.json …            a model folder, as training wrote it
        curves.jsonl            what was measured while it was trained
        version.json            written last: with it the version exists; knows every byte of the files above
        metrics.json            what evaluation found; added later, once
        decision.json           why it was promoted or not; added later, once
    aliases/production/…        see storage/aliases.py
"""

import getpass
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from storage import aliases
from storage.aliases import PRODUCTION, AliasChange
from storage.digest import digest, sha256_of_file
from storage.errors import InputError
from storage.sealed import Content, read_sealed, write_once
from storage.snapshot import sha256_of_stored_file
from storage.store import Store

FOLDER = "models"
MODEL_FILE = "model.json"
CURVES = "curves.jsonl"
VERSION_FILE = "version.json"
FORMAT_VERSION = 1

RecordName = Literal["metrics", "decision"]
RECORDS: tuple[RecordName, ...] = ("metrics", "decision")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def version_id(training: dict[str, Any], snapshot_digest: str) -> str:
    """The name of what a training will give, known before it starts.

    Args:
        training: everything in its configuration that decides the result.
        snapshot_digest: of the data.
    """
    return f"v-{digest('model', FORMAT_VERSION, training, snapshot_digest)}"


@dataclass(frozen=True)
class Registry:
    """The models below one root, which must be a local folder."""

    store: Store

    def models(self) -> list[str]:
        """Names of all models."""
        return sorted({path.split("/")[1] for path in self.store.files(FOLDER)})

    def versions(self, model: str) -> list[Content]:
        """What `version.json` says of every complete version, oldest first."""
        paths = [path.split("/") for path in self.store.files(_folder(model))]
        complete = [self.version(model, path[2]) for path in paths if path[3:] == [VERSION_FILE]]
        return sorted(complete, key=lambda version: (version["registered"], version["version"]))

    def has(self, model: str, version: str) -> bool:
        """Whether a version is complete."""
        return self.store.exists(f"{_folder(model, version)}/{VERSION_FILE}")

    def version(self, model: str, version: str) -> Content:
        """What `version.json` says.

        Raises:
            ValueError: there is no such version, or it was changed.
        """
        return read_sealed(self.store, f"{_folder(model, version)}/{VERSION_FILE}", FORMAT_VERSION)

    def register(
        self, model: str, version: str, trained: Path, *, parent: str | None = None, curves: Path | None = None
    ) -> Content:
        """Take a trained model in, for good; what is registered already stays as it is.

        Args:
            model: its name.
            version: from `version_id`.
            trained: a model folder.
            parent: version that the training started from; None = from scratch.
            curves: what was measured meanwhile, a line of JSON per step.

        Raises:
            ValueError: `trained` is no model folder, or its files are not as training wrote them.
        """
        if not self.has(model, version):
            about, sources = _model_folder(trained)
            if curves is not None:
                sources[CURVES] = curves
            folder = _folder(model, version)
            files = [self._copy(source, f"{folder}/{name}") for name, source in sorted(sources.items())]
            if problems := _differing(about, files):
                raise InputError(f"{trained}: {problems[0]}; train again")
            content = {
                "format_version": FORMAT_VERSION,
                "model": model,
                "version": version,
                "parent": parent,
                "registered": datetime.now(UTC).isoformat(timespec="milliseconds"),
                **{key: about.get(key) for key in ("kind", "snapshot", "training", "step", "code_version")},
                "files": files,
            }
            write_once(self.store, f"{folder}/{VERSION_FILE}", content)
        return self.version(model, version)

    def _copy(self, source: Path, path: str) -> Content:
        with self.store.new_file(path, durable=True) as aside:
            shutil.copyfile(source, aside)
            return {"path": path.rpartition("/")[2], "bytes": aside.stat().st_size, "sha256": sha256_of_file(aside)}

    def add_record(self, model: str, version: str, name: RecordName, content: Content) -> Content:
        """Add what was found out about a version, once; returns what stands there, whoever wrote it."""
        self.version(model, version)
        path = f"{_folder(model, version)}/{name}.json"
        write_once(self.store, path, {"format_version": FORMAT_VERSION, **content})
        return read_sealed(self.store, path, FORMAT_VERSION)

    def record(self, model: str, version: str, name: RecordName) -> Content | None:
        """A record of a version, or None where there is none yet."""
        path = f"{_folder(model, version)}/{name}.json"
        return read_sealed(self.store, path, FORMAT_VERSION) if self.store.exists(path) else None

    def alias(self, model: str, alias: str) -> str | None:
        """The version that an alias points at, or None where it was never set."""
        return aliases.points_at(self.history(model, alias))

    def aliases(self, model: str) -> dict[str, str]:
        """Every alias of a model and the version that it points at."""
        names = {path.split("/")[3] for path in self.store.files(f"{_folder(model)}/aliases")}
        return {name: version for name in sorted(names) if (version := self.alias(model, name))}

    def history(self, model: str, alias: str) -> list[AliasChange]:
        """Every change of an alias, oldest first."""
        return aliases.history(self.store, _folder(model), _checked(alias))

    def promote(
        self, model: str, version: str, alias: str = PRODUCTION, *, why: str, who: str | None = None,
        id: str | None = None, expected: str | None = None,
    ) -> AliasChange:  # fmt: skip
        """Let an alias point at a version whose files are as they were registered.

        Args:
            model: its name.
            version: a complete version.
            alias: its name.
            why: in one sentence.
            who: wants it; None = this user.
            id: of the wish, so that a repeated one does nothing; None = a new wish.
            expected: where the alias must point before; None with `id` = nowhere, without = wherever it points.

        Raises:
            ValueError: no such version, or a file of it was changed.
            AliasMovedError: the alias points elsewhere than expected.
        """
        if problems := self.verify(model, version):
            raise InputError(f"{model}/{version} is not promoted: {problems[0]}")
        changes = self.history(model, alias)
        if id is None:
            expected = aliases.points_at(changes)
            id = digest(alias, len(changes) + 1, version)
            if expected == version:
                return changes[-1]
        return aliases.move(
            self.store, _folder(model), _checked(alias), version,
            id=id, kind="promote", who=who or user(), why=why, expected=expected,
        )  # fmt: skip

    def rollback(self, model: str, alias: str = PRODUCTION, *, why: str, who: str | None = None) -> AliasChange:
        """Let an alias point at the version before the present one was promoted.

        Raises:
            ValueError: there is none, or a file of it was changed.
        """
        changes = self.history(model, alias)
        version = aliases.before(changes)
        if version is None:
            raise InputError(f"{alias} of {model} has no earlier version to go back to; see `persona models show`")
        if problems := self.verify(model, version):
            raise InputError(f"{model}/{version} is not brought back: {problems[0]}")
        return aliases.move(
            self.store, _folder(model), alias, version,
            id=digest(alias, len(changes) + 1, "rollback"), kind="rollback", who=who or user(), why=why,
            expected=aliases.points_at(changes),
        )  # fmt: skip

    def parse(self, reference: str) -> tuple[str, str]:
        """Model and version that `model@alias`, `model/version` or `model` (its production) names.

        Raises:
            ValueError: there is no such thing; one sentence that names what there is.
        """
        model, at, alias = reference.partition("@")
        name, slash, version = model.partition("/")
        if slash and not at:
            found = version if self.has(name, version) else None
        else:
            found = self.alias(model, alias or PRODUCTION)
        if found is None:
            raise InputError(f"there is no model {reference} below {self.store.full(FOLDER)}; {self._what_there_is()}")
        return name, found

    def resolve(self, reference: str) -> Path:
        """The folder of a model, after every byte of it was compared with `version.json`.

        Args:
            reference: `model@alias`, `model/version`, or `model` for its production.

        Raises:
            ValueError: there is no such thing, or a file of it was changed; one sentence.
        """
        model, version = self.parse(reference)
        if problems := self.verify(model, version):
            raise InputError(f"{model}/{version}: {problems[0]}")
        return self.store.local(_folder(model, version))

    def verify(self, model: str, version: str) -> list[str]:
        """What is wrong with a version, one sentence per file; nothing if every byte is as registered."""
        folder = _folder(model, version)
        try:
            files = self.version(model, version)["files"]
            for name in RECORDS:
                self.record(model, version, name)
        except ValueError as error:
            return [str(error)]
        problems = []
        present = {path.removeprefix(f"{folder}/") for path in self.store.files(folder)}
        for file in files:
            path = f"{folder}/{file['path']}"
            if not self.store.exists(path):
                problems.append(f"{file['path']} is missing")
            elif sha256_of_stored_file(self.store, path) != file["sha256"]:
                problems.append(f"{file['path']} was changed after it was registered: its SHA-256 differs")
            present.discard(file["path"])
        strangers = present - {VERSION_FILE, *(f"{name}.json" for name in RECORDS)}
        return problems + [f"{name} does not belong to the version" for name in sorted(strangers)]

    def verify_all(self) -> list[str]:
        """What is wrong anywhere, one sentence per file, histories of aliases included."""
        problems = []
        for model in self.models():
            names = {path.split("/")[2] for path in self.store.files(_folder(model))} - {"aliases"}
            for version in sorted(names):
                problems += [f"{model}/{version}: {problem}" for problem in self.verify(model, version)]
            try:
                self.aliases(model)
            except ValueError as error:
                problems.append(str(error))
        return problems

    def _what_there_is(self) -> str:
        known = [f"{model}@{alias}" for model in self.models() for alias in self.aliases(model)]
        return f"there are {', '.join(known)}" if known else "no model has an alias yet"


def user() -> str:
    """Who is running this, as the history names them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def _folder(model: str, version: str | None = None) -> str:
    """Below the root; a name that would lead out of it is refused."""
    parts = [_checked(model)] + ([_checked(version)] if version is not None else [])
    return "/".join([FOLDER, *parts])


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name: use lower-case letters, digits, '.', '_' and '-'")
    return name


def _model_folder(trained: Path) -> tuple[Content, dict[str, Path]]:
    """What `model.json` says, and the files that make up the model."""
    try:
        about: Content = json.loads((trained / MODEL_FILE).read_text(encoding="utf-8"))
        names = [Path(name).name for name in about["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{trained} is no model folder: its {MODEL_FILE} cannot be read ({error})") from error
    return about, {name: trained / name for name in [MODEL_FILE, *names]}


def _differing(about: Content, files: Sequence[Content]) -> list[str]:
    """Files that are not what `model.json` says of them."""
    found = {file["path"]: file["sha256"] for file in files}
    return [
        f"{name} differs from {MODEL_FILE}"
        for name, facts in about["files"].items()
        if found.get(name) != facts["sha256"]
    ]
