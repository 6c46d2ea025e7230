"""A published dataset: a folder that never changes, with a manifest that knows every byte of it.

snapshots/NAME-0123456789ab/
    train/00000.parquet …   opened as pictures by datasets.load_dataset
    val/00000.parquet …
    README.md               dataset card and datasheet
    croissant.json          the same for machines
    manifest.json           written last: with it the snapshot exists, without it it does not
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storage.digest import READ_BYTES, canonical_json
from storage.store import Store

FOLDER = "snapshots"
MANIFEST = "manifest.json"
FORMAT_VERSION = 1

Manifest = dict[str, Any]


@dataclass(frozen=True)
class FileFacts:
    """One file of a snapshot; its path is relative to the snapshot."""

    path: str
    split: str | None  # train, val or test; None for a document
    rows: int | None
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """One version of a dataset; exists before it is written."""

    store: Store
    id: str  # name and 12 hexadecimal digits of everything that went into it
    folder: str = FOLDER  # benchmarks are published in another one, in the same way

    @property
    def path(self) -> str:
        """Its folder below the root."""
        return f"{self.folder}/{self.id}"

    def file(self, path: str) -> str:
        """Path below the root of one of its files."""
        return f"{self.path}/{path}"

    def is_committed(self) -> bool:
        """The manifest is there, and it was written after everything else."""
        return self.store.exists(self.file(MANIFEST))

    def manifest(self) -> Manifest:
        return load_manifest(self.store, self.path)

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest: from now on the snapshot is complete, and stays as it is."""
        with self.store.new_file(self.file(MANIFEST), durable=True) as aside:
            aside.write_bytes(sealed(manifest))


def published_at(address: str) -> Snapshot:
    """The snapshot or benchmark at an address, such as `data/persona/snapshots/persona-0123456789ab`.

    Its root is two folders up; whether it was ever committed is not looked at.
    """
    whole = address.rstrip("/") if "://" in address else str(Path(address).absolute())
    root, folder, name = whole.rsplit("/", 2)
    return Snapshot(Store(root), name, folder)


def list_snapshots(store: Store) -> list[Snapshot]:
    """Every committed snapshot, in the order of their ids."""
    parts = (path.split("/") for path in store.files(FOLDER))
    return [Snapshot(store, path[1]) for path in parts if path[2:] == [MANIFEST]]


def sealed(manifest: Manifest) -> bytes:
    """The manifest as it is written: with its own digest, the SHA-256 of its canonical JSON without that field."""
    content = {key: value for key, value in manifest.items() if key != "digest"}
    content["files"] = [asdict(file) if isinstance(file, FileFacts) else file for file in content["files"]]
    content = json.loads(canonical_json(content))
    content["digest"] = hashlib.sha256(canonical_json(content).encode()).hexdigest()
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def load_manifest(store: Store, path: str) -> Manifest:
    """The manifest of the snapshot at `path`.

    Raises:
        ValueError: there is none, or it is not what was published; one sentence.
    """
    name = f"{path}/{MANIFEST}" if path else MANIFEST
    if not store.exists(name):
        raise ValueError(f"{name} is missing, so {path or store.root} is no snapshot, or was never finished")
    with store.filesystem.open_input_file(store.full(name)) as file:
        written = file.read()
    try:
        manifest = json.loads(written)
        intact = sealed(manifest) == written
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{name} was changed after it was published: it is no manifest any more") from error
    # Comparing bytes, not values, notices a change of white space too.
    if not intact:
        raise ValueError(f"{name} was changed after it was published: its digest does not fit its content")
    if manifest["format_version"] != FORMAT_VERSION:
        raise ValueError(f"{name} has format {manifest['format_version']}, this version reads {FORMAT_VERSION}")
    return manifest


def sha256_of_stored_file(store: Store, path: str) -> str:
    """SHA-256 of a file below the root, local or not, in hexadecimal; reads it in pieces."""
    sha256 = hashlib.sha256()
    with store.filesystem.open_input_stream(store.full(path), compression=None) as file:
        while piece := file.read(READ_BYTES):
            sha256.update(piece)
    return sha256.hexdigest()


def verify_snapshot(store: Store, path: str) -> list[str]:
    """What is wrong with the snapshot at `path`, one sentence per file; nothing if every byte is as published."""
    try:
        manifest = load_manifest(store, path)
    except ValueError as error:
        return [str(error)]
    prefix = f"{path}/" if path else ""
    present = {name.removeprefix(prefix) for name in store.files(path)}
    problems = []
    for file in (FileFacts(**facts) for facts in manifest["files"]):
        size = store.size_bytes(prefix + file.path)
        if size is None:
            problems.append(f"{file.path} is missing.")
        elif size != file.bytes:
            problems.append(f"{file.path} has {size} bytes, but was published with {file.bytes}.")
        elif sha256_of_stored_file(store, prefix + file.path) != file.sha256:
            problems.append(f"{file.path} was changed after it was published: its SHA-256 differs.")
        present.discard(file.path)
    problems += [f"{name} does not belong to the snapshot." for name in sorted(present - {MANIFEST})]
    return problems
