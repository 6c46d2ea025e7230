"""The root under which everything is kept: a local folder, or a `s3://` or `gs://` address."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import pyarrow.fs as pafs

from storage.bucket import open_bucket
from storage.errors import DiskOrNetworkError, InputError

PART = ".part"
_ASIDE = ".persona-"
"""So begins the name of whatever is not finished yet: nobody else's file is called like that."""
SCRATCH = ".persona-scratch"
"""Folder below a local root for what a stage needs while it works."""
SWEPT = (
    "ingest", "detect", "crop", "score", "sample", "select", "snapshots", "parts/snapshots", "books",
    "contact-sheets", "reports",
)  # fmt: skip
"""Folders below a root that are written to under its lock alone: what lies half-written there is nobody's work."""

_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Store:
    """Files below one root; cheap to pickle into a worker process. Paths are relative, with forward slashes."""

    root: str

    @cached_property
    def _place(self) -> tuple[pafs.FileSystem, str]:
        if "://" in self.root:
            return open_bucket(self.root)
        return pafs.LocalFileSystem(), str(Path(self.root).expanduser().absolute()).rstrip("/")

    @property
    def filesystem(self) -> pafs.FileSystem:
        return self._place[0]

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def full(self, path: str) -> str:
        """`path` as this store's file system names it."""
        return f"{self._place[1]}/{path}" if path else self._place[1] or "/"

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

    def read_bytes(self, path: str) -> bytes:
        """A small file, whole."""
        with self.filesystem.open_input_file(self.full(path)) as file:
            return file.read()

    def write_text(self, path: str, text: str) -> None:
        """Write a small file whole or not at all; it survives a power cut right afterwards."""
        with self.new_file(path, durable=True) as aside:
            aside.write_text(text, encoding="utf-8")

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        if self.exists(path):
            self.filesystem.delete_file(self.full(path))

    @contextlib.contextmanager
    def new_file(self, path: str, durable: bool = False) -> Iterator[Path]:
        """A local file to write, which becomes `path` when the block ends without an exception.

        Locally it is renamed into place; on an object store it is uploaded in one put. Nobody ever sees a part of
        it under its name. With `durable` it also survives a power cut right afterwards.

        Raises:
            DiskOrNetworkError: the disk is full.
        """
        target = self.full(path)
        if self.is_local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            aside = aside_of(Path(target))
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
        except OSError as error:
            if error.errno in _DISK_IS_FULL and not isinstance(error, DiskOrNetworkError):
                raise DiskOrNetworkError(
                    f"{target} cannot be written, {os.strerror(error.errno).lower()} in {aside.parent}: make room there"
                    " and run the same command again"
                ) from error
            raise
        finally:
            aside.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed runs left half-written, while no other run uses the root; nothing of anybody else's."""
        if not self.is_local:
            return
        for folder in SWEPT:
            for part in self.local(folder).rglob(f"{_ASIDE}*{PART}"):
                part.unlink(missing_ok=True)
        shutil.rmtree(self.local(SCRATCH), ignore_errors=True)


def aside_of(target: Path) -> Path:
    """Where a file is written until it is complete: beside `target`, under a name that nobody else has.

    It is no longer than 255 bytes where the name of `target` is not.
    """
    return target.with_name(f"{_ASIDE}{uuid4().hex}{PART}")
