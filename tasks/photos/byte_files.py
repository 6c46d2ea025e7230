"""A large file that is read by position, on this machine or in a bucket."""

import io
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import obstore

from storage.errors import DiskOrNetworkError, InputError
from tasks.photos.object_store import ObjectAddress, as_sentence, open_store

READ_AHEAD_BYTES = 8 << 20


class ByteFile(Protocol):
    """Small when pickled; what is open stays in its process."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    @property
    def address(self) -> str:
        """Where it is, for people."""

    def __hash__(self) -> int:
        """Files are keys of what is open."""

    def facts(self) -> tuple[int, str]:
        """Size in bytes, and a stamp that changes with the content.

        Raises:
            InputError: it is not there.
        """

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from a position on, fewer at the end of the file."""

    def open(self) -> BinaryIO:
        """The whole file, to be read from front to back with a few jumps."""


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path

    @property
    def name(self) -> str:
        """See ByteFile."""
        return self.path.name

    @property
    def address(self) -> str:
        """See ByteFile."""
        return str(self.path)

    def facts(self) -> tuple[int, str]:
        """See ByteFile; the stamp is the time of the last change in ns."""
        try:
            found = self.path.stat()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from error
        return found.st_size, str(found.st_mtime_ns)

    def read(self, offset: int, length: int) -> bytes:
        """See ByteFile."""
        try:
            return os.pread(_handle(self.path), length, offset)
        except OSError as error:
            raise DiskOrNetworkError(f"{self.path} cannot be read: {error.strerror}") from error

    def open(self) -> BinaryIO:
        """See ByteFile."""
        return self.path.open("rb", buffering=1 << 20)


@lru_cache(maxsize=256)
def _handle(path: Path) -> int:
    """An open file; it is closed with the process, since another thread may be reading it when it leaves the cache."""
    return os.open(path, os.O_RDONLY)


@dataclass(frozen=True)
class RemoteFile:
    """An object in a bucket."""

    at: ObjectAddress

    @property
    def name(self) -> str:
        """See ByteFile."""
        return self.at.path.rpartition("/")[2]

    @property
    def address(self) -> str:
        """See ByteFile."""
        return self.at.shown

    @cached_property
    def _facts(self) -> tuple[int, str]:
        try:
            found = obstore.head(open_store(self.at.bucket), self.at.path)
        except FileNotFoundError as error:
            raise InputError(f"{self.address} is not there") from error
        except obstore.exceptions.BaseError as error:
            raise DiskOrNetworkError(as_sentence(self.address, error)) from error
        return found["size"], found["e_tag"] or str(found["last_modified"])

    def facts(self) -> tuple[int, str]:
        """See ByteFile; the stamp is the ETag. Asked for once per process."""
        return self._facts

    def read(self, offset: int, length: int) -> bytes:
        """See ByteFile."""
        length = min(length, self._facts[0] - offset)
        if length <= 0:
            return b""
        try:
            return bytes(obstore.get_range(open_store(self.at.bucket), self.at.path, start=offset, length=length))
        except (FileNotFoundError, obstore.exceptions.BaseError) as error:
            raise DiskOrNetworkError(as_sentence(self.address, error)) from error

    def open(self) -> BinaryIO:
        """See ByteFile; read in pieces of 8 MiB."""
        self.facts()
        return cast(BinaryIO, io.BufferedReader(_Positioned(self), READ_AHEAD_BYTES))


class _Positioned(io.RawIOBase):
    """A file that is read by position, as one that is read from front to back."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._size, self._at = file, file.facts()[0], 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        data = self._file.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
