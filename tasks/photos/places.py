"""From what a configuration says about a source's photos to the object that gives them."""

import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import obstore
import xxhash
from pydantic import AfterValidator, BeforeValidator

from storage.errors import DiskOrNetworkError, InputError
from storage.reasons import Reason
from storage.rejection import Rejection
from storage.store import Store
from tasks.photos.archives import Archives
from tasks.photos.bucket import Bucket, objects_below
from tasks.photos.byte_files import ByteFile, LocalFile, RemoteFile
from tasks.photos.local_folder import LocalFolder, is_folder
from tasks.photos.name_table import Entry
from tasks.photos.names import ARCHIVE_SUFFIXES, is_image, is_litter, parts_of
from tasks.photos.object_store import ObjectAddress, as_sentence, is_address, object_address, open_store
from tasks.photos.photos import Listed, Photos, Signature, Taken, Unlisted
from tasks.photos.read_ahead import read_ahead

Place = LocalFolder | Archives | Bucket


def _as_tuple(value: object) -> object:
    return (str(value),) if isinstance(value, str | Path) else value


def _existing(places: tuple[str, ...]) -> tuple[str, ...]:
    """The places as they are, if the local ones are there; ValueError with the remedy otherwise."""
    if not places:
        raise ValueError("names no place: give a folder, an archive, a pattern or an address")
    for place in places:
        if is_address(place):
            object_address(place)
        else:
            _local(place)
    return places


PhotoPlaces = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...]),  # Prefect's server checks by the schema
    AfterValidator(_existing),
]
"""Folders, archives (tar, tar.gz, zip), patterns of them such as `objects365/patch*.tar.gz`, folders of archives, and
addresses of all these in buckets (`s3://`, `gs://`, `az://`); one or a list."""


@lru_cache(maxsize=64)
def photos_of(places: tuple[str, ...], store: Store) -> Photos:
    """The photos of a source, as they lie when this is first asked for; `photos_of.cache_clear()` looks anew.

    Args:
        places: its `photos`.
        store: of the run; what was found in archives is kept there.

    Raises:
        InputError: a place is not there.
    """
    found: list[Place | ByteFile] = []
    for place in places:
        found += _remote(object_address(place)) if is_address(place) else _local(place)
    archives = tuple(place for place in found if isinstance(place, LocalFile | RemoteFile))
    folders = tuple(place for place in found if isinstance(place, LocalFolder | Bucket))
    return _Places((*folders, Archives(archives, store)) if archives else folders, store)


def any_changed(photos: Photos, unread: Mapping[str, Signature | None]) -> bool:
    """Whether any photo of `unread` (path → its signature when it could not be read) is another one now."""
    return any(photos.signature(path) != signature for path, signature in unread.items())


def all_as_taken(photos: Photos, taken: Mapping[str, Signature], thoroughly: bool) -> bool:
    """Whether every photo is what it was when it was read (path → what `Photos.taken` said then)."""
    return all(photos.is_as_taken(path, signature, thoroughly) for path, signature in taken.items())


def _local(place: str) -> list[Place | ByteFile]:
    path = Path(place).expanduser()
    if not path.exists() and glob.has_magic(place):
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - the pattern may be absolute
        if not matches:
            raise InputError(f"nothing matches {place}: correct the pattern")
        return [found for match in matches if not is_litter(match) for found in _local(match)]
    if path.is_dir():
        archives = _archives_in(path)
        return [*archives] if archives else [LocalFolder(path)]
    if not path.exists():
        raise InputError(f"{place} is not there: correct the path")
    if not place.lower().endswith(ARCHIVE_SUFFIXES):
        raise InputError(f"{place} is neither a folder nor one of {', '.join(ARCHIVE_SUFFIXES)}: unpack it first")
    return [LocalFile(path)]


def _archives_in(folder: Path) -> list[LocalFile]:
    """The archives in a folder that holds nothing else that could be a photo; else what is unpacked counts."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_litter(entry.name):
                if is_image(entry.name) or is_folder(entry):
                    return []
                names.append(entry.name)
    return [LocalFile(folder / name) for name in sorted(names) if name.lower().endswith(ARCHIVE_SUFFIXES)]


def _remote(at: ObjectAddress) -> list[Place | ByteFile]:
    if glob.has_magic(at.path):
        fixed = at.path[: min(at.path.find(sign) for sign in "*?[" if sign in at.path)].rpartition("/")[0]
        base = ObjectAddress(at.bucket, fixed)
        paths = (f"{fixed}/{entry['path']}".lstrip("/") for entry in objects_below(base))
        archives = sorted(p for p in paths if fnmatchcase(p, at.path) and p.lower().endswith(ARCHIVE_SUFFIXES))
        if not archives:
            raise InputError(f"no archive matches {at.shown}")
        return [RemoteFile(ObjectAddress(at.bucket, path)) for path in archives]
    if at.path.lower().endswith(ARCHIVE_SUFFIXES):
        return [RemoteFile(at)]
    try:
        top = obstore.list_with_delimiter(open_store(at.bucket), at.path or None)
    except (FileNotFoundError, obstore.exceptions.BaseError) as error:
        raise DiskOrNetworkError(as_sentence(at.shown, error)) from error
    names = sorted(found["path"] for found in top["objects"] if not is_litter(found["path"]))
    if names and not top["common_prefixes"] and not any(is_image(name) for name in names):
        archives = [name for name in names if name.lower().endswith(ARCHIVE_SUFFIXES)]
        if archives:
            return [RemoteFile(ObjectAddress(at.bucket, name)) for name in archives]
    return [Bucket(at)]


class _Places:
    """Photos that lie in one place or in several; see `Photos` for what each method gives."""

    def __init__(self, places: tuple[Place, ...], store: Store) -> None:
        self.places, self._store = places, store
        self._taken: dict[str, Signature] = {}

    def __reduce__(self) -> tuple[type["_Places"], tuple[tuple[Place, ...], Store]]:
        return _Places, (self.places, self._store)

    def beside(self, places: tuple[str, ...]) -> Photos:
        return photos_of(places, self._store)

    def read(self, path: str) -> bytes | Rejection:
        return self._read(path, None)

    def start(self, path: str, num_bytes: int) -> bytes | Rejection:
        return self._read(path, num_bytes)

    def _read(self, path: str, num_bytes: int | None) -> bytes | Rejection:
        data, signature = self._taken_from_place(path, num_bytes)
        if isinstance(data, bytes) and num_bytes is None and signature is not None:
            self._taken[path] = [*signature, xxhash.xxh3_64_hexdigest(data)]
        return data

    def _taken_from_place(self, path: str, num_bytes: int | None) -> Taken:
        if parts_of(path) is None:
            return Rejection(Reason.PATH_OUTSIDE_ROOT, detail=repr(path)), None
        if len(self.places) == 1 and not isinstance(self.places[0], Archives):
            found = self.places[0].read_exactly(path, num_bytes)  # no need to know what else lies there
            if found is not None:
                return found
        located = self._locate(path)
        if isinstance(located, Rejection):
            return located, None
        place, entry = located
        return place.read(entry, num_bytes)

    def taken(self) -> dict[str, Signature]:
        taken, self._taken = self._taken, {}
        return taken

    def is_as_taken(self, path: str, taken: Signature, thoroughly: bool) -> bool:
        if thoroughly:
            data, _ = self._taken_from_place(path, None)
            return isinstance(data, bytes) and xxhash.xxh3_64_hexdigest(data) == taken[-1]
        return any(place.is_slow_to_ask for place in self.places) or self.signature(path) == taken[:-1]

    def where(self, path: str) -> str | None:
        located = self._locate(path, by_list=True)
        if isinstance(located, Rejection):
            return None
        place, entry = located
        return f"{self.places.index(place)}/{entry.get('archive', 0)}/{entry['path']}"

    def signature(self, path: str) -> Signature | None:
        located = self._locate(path)
        if isinstance(located, Rejection):
            return ["several", located.detail or ""] if located.reason is Reason.AMBIGUOUS_FILE else None
        place, entry = located
        return place.signature(entry)

    def reading(self, paths: Sequence[str]) -> AbstractContextManager[Callable[[str], bytes | Rejection]]:
        if any(place.is_remote for place in self.places):
            return read_ahead(self.read, paths)
        return nullcontext(self.read)  # the operating system reads ahead by itself

    def files(self) -> Iterator[Listed | Unlisted]:
        for place in self.places:
            yield from place.listing()

    def _locate(self, path: str, by_list: bool = False) -> tuple[Place, Entry] | Rejection:
        """Where a listed photo lies, or why that cannot be said; `by_list` asks no bucket about single objects."""
        found: list[tuple[Place, Entry]] = []
        listed = [p for p in self.places if isinstance(p, Archives) or (by_list and p.is_slow_to_ask)]
        for place in self.places:
            if not isinstance(place, Archives) and place not in listed:
                entry = place.at_path(path)
                found += [] if entry is None else [(place, entry)]
        parts = parts_of(path)
        if parts is None and not found:
            return Rejection(Reason.PATH_OUTSIDE_ROOT, detail=path)
        if parts is not None:
            others = [place for place in self.places if not found or place in listed]
            candidates = [(place, entry) for place in others for entry in place.find(parts)]
            if found or any(entry["path"] == "/".join(parts) for _, entry in candidates):
                candidates = [c for c in candidates if c[1]["path"] == "/".join(parts)]
            found += candidates
        if not found:
            return Rejection(Reason.MISSING_FILE, detail=path)
        if len(found) > 1:
            shown = ", ".join(entry["path"] for _, entry in found[:3])
            return Rejection(Reason.AMBIGUOUS_FILE, len(found), 1, f"{path}: {shown}")
        return found[0]
