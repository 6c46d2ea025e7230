"""A published dataset: a folder that never changes, with a manifest that knows every byte of it.

snapshots/NAME-0123456789ab/
    train/00000.parquet …   opened as pictures by datasets.load_dataset
    val/00000.parquet …
    README.md               dataset card and datasheet
    croissant.json          the same for machines
    manifest.json           written last: with it the snapshot exists, without it it does not
"""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from storage.digest import READ_BYTES
from storage.errors import DamagedFileError, InputError
from storage.manifest import FileFacts as FileFacts
from storage.manifest import Manifest as Manifest
from storage.parquet import open_parquet
from storage.sealed import RESTORE, Content, read_record, read_sealed, sealed, write_record
from storage.store import Store

FOLDER = "snapshots"
MANIFEST = "manifest.json"
FORMAT_VERSION = 1

PARTS = "parts"
"""Folder below a root with a record per published file: by it what a killed run left is told from damage."""
REMEDY = "compare with `persona snapshot verify`, then restore it from a copy, or delete the folder and make it again"


@dataclass(frozen=True)
class Snapshot:
    """One version of a dataset; exists before it is written."""

    store: Store
    id: str  # name and 12 hexadecimal digits of everything that went into it
    folder: str = FOLDER  # benchmarks are published in another one, in the same way

    @property
    def path(self) -> str:
        """Its folder below the root."""
        return f"{self.folder}/{self.id}" if self.folder else self.id

    def file(self, path: str) -> str:
        """Path below the root of one of its files."""
        return f"{self.path}/{path}"

    def open(self, path: str) -> AbstractContextManager[pq.ParquetFile]:
        """One of its Parquet files.

        Raises:
            DamagedFileError: it is missing or cannot be read.
        """
        return open_parquet(self.store, self.file(path), REMEDY)

    def is_committed(self) -> bool:
        """The manifest is there, and it was written after everything else."""
        return self.store.exists(self.file(MANIFEST))

    def manifest(self) -> Manifest:
        return load_manifest(self.store, self.path)

    def commit(self, manifest: Content) -> None:
        """Write the manifest: from now on the snapshot is complete, and stays as it is."""
        with self.store.new_file(self.file(MANIFEST), durable=True) as aside:
            aside.write_bytes(sealed({**manifest, "files": [asdict(file) for file in manifest["files"]]}))


def published_at(address: str) -> Snapshot:
    """The snapshot or benchmark at an address, such as `data/persona/snapshots/persona-0123456789ab`.

    Its root is two folders up, or as far as there are any; whether it was ever committed is not looked at.

    Raises:
        InputError: the address leaves no name for a snapshot.
    """
    if "://" in address:
        parts = urlsplit(address)
        *above, name = parts.path.strip("/").split("/")
        folder = above.pop() if above else ""
        root = urlunsplit(parts._replace(path="/".join(["", *above])))
    else:
        path = Path(address).expanduser().absolute()
        name, folder, root = path.name, path.parent.name, str(path.parent.parent)
    if not name:
        raise InputError(f"{address} is no snapshot: give the folder with its {MANIFEST}")
    return Snapshot(Store(root), name, folder)


_FACTS = TypeAdapter(FileFacts)


def note_written(snapshot: Snapshot, facts: FileFacts) -> FileFacts:
    """Remember what was written into a file that lies in place now; returns `facts`."""
    write_record(snapshot.store, _record_path(snapshot, facts.path), asdict(facts))
    return facts


def facts_of_written(snapshot: Snapshot, path: str) -> FileFacts | None:
    """What an earlier run wrote and did not live to commit; None where there is nothing, or not every byte of it."""
    store, record = snapshot.store, _record_path(snapshot, path)
    if not (store.exists(snapshot.file(path)) and store.exists(record)):
        return None
    try:
        facts = _FACTS.validate_python(read_record(store, record, ""))
    except (DamagedFileError, ValidationError):
        return None
    return facts if sha256_of_stored_file(store, snapshot.file(path)) == facts.sha256 else None


def _record_path(snapshot: Snapshot, path: str) -> str:
    return f"{PARTS}/{snapshot.file(path)}.json"


def list_snapshots(store: Store) -> list[Snapshot]:
    """Every committed snapshot, in the order of their ids."""
    parts = (path.split("/") for path in store.files(FOLDER))
    return [Snapshot(store, path[1]) for path in parts if path[2:] == [MANIFEST]]


def load_manifest(store: Store, path: str) -> Manifest:
    """The manifest of the snapshot at `path`.

    Raises:
        ValueError: there is none, or it is not what was published; one sentence.
    """
    name = f"{path}/{MANIFEST}" if path else MANIFEST
    if not store.exists(name):
        raise InputError(f"{name} is missing, so {path or store.root} is no snapshot, or was never finished")
    content = read_sealed(store, name, FORMAT_VERSION)
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise DamagedFileError(f"{name} below {store.root} cannot be read by this version: {RESTORE}") from error


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
    for file in manifest.files:
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
