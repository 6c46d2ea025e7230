"""An annotation file wherever it lies: plain, gzipped, in a zip or tar archive, on this machine or in a bucket.

`instances.json`, `boxes.csv.gz`, `annotations.zip` with one file in it, `annotations.zip/annotations/instances.json`
for one of several, and all of these behind `s3://`, `gs://` or `az://`. It opens like a path does; nothing is unpacked.
"""

import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic_core import core_schema

from storage.errors import DamagedFileError, InputError
from tasks.photos.byte_files import ByteFile, LocalFile, RemoteFile
from tasks.photos.names import is_litter
from tasks.photos.object_store import is_address, object_address

READ_BYTES = 1 << 20
_TARS = (".tar", ".tar.gz", ".tgz")
_ARCHIVES = (".zip", *_TARS)
_INSIDE = re.compile(r"(.+?\.(?:zip|tar|tar\.gz|tgz))/(.+)")


class AnnotationFile:
    """One file of annotations; small when pickled."""

    def __init__(self, place: str) -> None:
        self._place = place
        path, mark, query = place.partition("?") if is_address(place) else (place, "", "")
        inside = None if Path(path).exists() else _INSIDE.match(path)
        self._member = inside[2] if inside else None
        self._container = _file_at(f"{inside[1]}{mark}{query}" if inside else place)

    def __str__(self) -> str:
        return self._place if not is_address(self._place) else self._place.partition("?")[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnnotationFile) and self._place == other._place

    def __hash__(self) -> int:
        return hash(self._place)

    @property
    def name(self) -> str:
        """The name of the annotations themselves, however they are packed."""
        if self._container.name.endswith(_ARCHIVES):
            return self._inner_name().rpartition("/")[2]
        return self._container.name.removesuffix(".gz")

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return Path(self.name).stem

    def facts(self) -> tuple[int, str]:
        """Size and stamp of the file that it lies in, as a ByteFile has them."""
        return self._container.facts()

    def sha256(self) -> str:
        """SHA-256 of what the readers read, in hexadecimal; as long as the file stays the same it is computed once."""
        return _sha256(self, *self.facts())

    @contextmanager
    def open(
        self, mode: str = "r", encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> Iterator[IO[Any]]:
        """The annotations as a file to read, as `Path.open` gives it; it can be sought in.

        Raises:
            DamagedFileError: what packs them is cut or damaged, now or while they are read.
        """
        try:
            with self._container.open() as packed, self._unpacked(packed) as file:
                yield file if "b" in mode else io.TextIOWrapper(file, encoding, errors, newline)
        except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError) as error:
            raise DamagedFileError(f"{self} is cut or damaged, fetch it again: {error}") from error

    def read_bytes(self) -> bytes:
        """All of it."""
        with self.open("rb") as file:
            return bytes(file.read())

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """All of it, as text."""
        with self.open(encoding=encoding, errors=errors) as file:
            return str(file.read())

    @contextmanager
    def _unpacked(self, packed: IO[bytes]) -> Iterator[IO[bytes]]:
        if self._container.name.endswith(_TARS):
            with tarfile.open(fileobj=packed, mode="r:*") as tar:
                member = tar.extractfile(self._inner_name())
                assert member is not None  # a plain file, as `_names_in` found
                yield member
        elif self._container.name.endswith(".gz"):
            with gzip.open(packed) as file:
                yield io.BufferedReader(file, READ_BYTES)
        elif self._container.name.endswith(".zip"):
            with zipfile.ZipFile(packed) as archive, archive.open(self._inner_name()) as file:
                yield io.BufferedReader(file, READ_BYTES)  # type: ignore[type-var]
        else:
            yield packed

    def _inner_name(self) -> str:
        names = _names_in(self._container)
        if self._member is not None:
            if self._member not in names:
                raise InputError(f"{self._container.address} holds no {self._member}, only {', '.join(names[:10])}")
            return self._member
        if len(names) != 1:
            raise InputError(
                f"{self._container.address} holds {len(names)} files: name one of them, such as"
                f" {self._container.address}/{(names or ['…'])[0]}"
            )
        return names[0]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:  # noqa: ANN401
        as_text = core_schema.plain_serializer_function_ser_schema(lambda file: file._place)
        return core_schema.no_info_plain_validator_function(
            _existing, serialization=as_text, json_schema_input_schema=core_schema.str_schema()
        )


def _existing(value: object) -> AnnotationFile:
    """The file that a configuration names; ValueError with the remedy where it is not there."""
    if isinstance(value, AnnotationFile):
        return value
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError(f"{value!r} is no path or address of a file")
    file = AnnotationFile(str(value))
    container = file._container
    if isinstance(container, LocalFile) and not container.path.is_file():
        what = "is a folder, name the file in it" if container.path.is_dir() else "is not there: correct the path"
        raise ValueError(f"{container.path} {what}")
    return file


AnnotationFiles = Annotated[
    tuple[AnnotationFile, ...],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str | Path | AnnotationFile) else value,
        json_schema_input_type=str | tuple[str, ...],  # Prefect's server checks by the schema
    ),
]
"""One file or several; their records count as one list."""


def _file_at(place: str) -> ByteFile:
    return RemoteFile(object_address(place)) if is_address(place) else LocalFile(Path(place).expanduser())


@lru_cache(maxsize=64)
def _names_in(container: ByteFile) -> list[str]:
    with container.open() as packed:
        try:
            if container.name.endswith(_TARS):
                with tarfile.open(fileobj=packed, mode="r:*") as tar:
                    names = [member.name for member in tar if member.isfile()]
            else:
                names = zipfile.ZipFile(packed).namelist()
        except (EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise DamagedFileError(f"{container.address} is cut or damaged, fetch it again: {error}") from error
    return [name for name in names if not name.endswith("/") and not is_litter(name)]


@lru_cache(maxsize=256)
def _sha256(file: AnnotationFile, size: int, stamp: str) -> str:
    sha256 = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(READ_BYTES):
            sha256.update(piece)
    return sha256.hexdigest()
