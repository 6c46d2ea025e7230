"""The root under which everything is kept: a local folder, or a `s3://` or `gs://` address."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from storage.errors import InputError

PART = ".part"
SCRATCH = ".scratch"
"""Folder below a local root for what a stage needs while it works."""


@dataclass(frozen=True)
class Store:
    """Files below one root; cheap to pickle into a worker process. Paths are relative, with forward slashes."""

    root: str

    @cached_property
    def _place(self) -> tuple[pafs.FileSystem, str]:
        if "://" in self.root:
            filesystem, base = pafs.FileSystem.from_uri(self.root)
            return filesystem, base.rstrip("/")
        return pafs.LocalFileSystem(), str(Path(self.root).absolute())

    @property
    def filesystem(self) -> pafs.FileSystem:
        return self._place[0]

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def full(self, path: str) -> str:
        """`path` as this store's file system names it."""
        return f"{self._place[1]}/{path}" if path else self._place[1]

    def local(self, path: str = "") -> Path:
        """`path` on the local disk.

        Raises:
            ValueError: the root is on an object store.
        """
        if not self.is_local:
            raise InputError(f"root {self.root} is not a local folder")
        return Path(self.full(path))

    def size_bytes(self, path: str) -> int | None:
        """Size of a file, or None where there is none."""
        info = self.filesystem.get_file_info(self.full(path))
        return info.size if info.type == pafs.FileType.File else None

    def exists(self, path: str) -> bool:
        return self.size_bytes(path) is not None

    def files(self, folder: str) -> list[str]:
        """Every finished file below `folder`, sorted; an absent folder has none."""
        selector = pafs.FileSelector(self.full(folder), recursive=True, allow_not_found=True)
        base = len(self._place[1]) + 1
        infos = self.filesystem.get_file_info(selector)
        return sorted(i.path[base:] for i in infos if i.type == pafs.FileType.File and not i.path.endswith(PART))

    def read_json(self, path: str) -> Any:  # noqa: ANN401 - whatever was written
        with self.filesystem.open_input_file(self.full(path)) as file:
            return json.loads(file.read())

    def write_text(self, path: str, text: str) -> None:
        """Write a small file whole or not at all."""
        with self.new_file(path) as aside:
            aside.write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def new_file(self, path: str, durable: bool = False) -> Iterator[Path]:
        """A local file to write, which becomes `path` when the block ends without an exception.

        Locally it is renamed into place; on an object store it is uploaded in one put. Nobody ever sees a part of
        it under its name. With `durable` it also survives a power cut right afterwards.
        """
        target = self.full(path)
        if self.is_local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            aside = Path(f"{target}.{os.getpid()}{PART}")
        else:
            handle, name = tempfile.mkstemp(suffix=PART)
            os.close(handle)
            aside = Path(name)
        try:
            yield aside
            if durable:
                with aside.open("rb") as file:
                    os.fsync(file.fileno())
            if self.is_local:
                aside.replace(target)
            else:
                pafs.copy_files(
                    str(aside), target, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=self.filesystem
                )
        finally:
            aside.unlink(missing_ok=True)

    def sweep(self, spare: Collection[str] = ()) -> None:
        """Remove what killed runs left half-written, while no other run uses the root, `spare` folders excepted."""
        if self.is_local and self.local().is_dir():
            for top in self.local().iterdir():
                if top.name not in spare:
                    for part in [top] if top.name.endswith(PART) else top.rglob(f"*{PART}"):
                        part.unlink(missing_ok=True)
            shutil.rmtree(self.local(SCRATCH), ignore_errors=True)
