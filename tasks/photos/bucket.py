"""Photos that are single objects below an address in a bucket."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import obstore

from storage.errors import DiskOrNetworkError, InputError
from storage.reasons import Reason
from storage.rejection import Rejection
from tasks.photos.name_table import Entry, NameTable, write_table
from tasks.photos.names import Parts, parts_of
from tasks.photos.object_store import ObjectAddress, as_sentence, open_store
from tasks.photos.photos import MAX_FILE_BYTES, Listed, Signature, Taken, Unlisted

PAGE = 1000


@dataclass(frozen=True)
class Bucket:
    """The objects below one address."""

    at: ObjectAddress

    is_remote = True
    is_slow_to_ask = True

    def at_path(self, path: str) -> Entry | None:
        """The object of exactly this path, if it is there."""
        if not _is_plain(path):
            return None
        if "_table" in self.__dict__:  # it is known what lies here
            return next((entry for entry in self.find(parts_of(path) or ()) if entry["path"] == path), None)
        try:
            found = obstore.head(open_store(self.at.bucket), self._key(path))
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError as error:
            raise DiskOrNetworkError(as_sentence(self.at.shown, error)) from error
        stamp = found["e_tag"] or str(found["last_modified"])
        return {"path": path, "size": found["size"], "stamp": stamp}

    def find(self, listed: Parts) -> list[Entry]:
        """The objects that a listed name may mean."""
        return self._table.find(listed)

    def read(self, entry: Entry, num_bytes: int | None = None) -> Taken:
        """The bytes of one of them, with their signature."""
        found = self.read_exactly(entry["path"], num_bytes)
        return (Rejection(Reason.MISSING_FILE, detail=entry["path"]), None) if found is None else found

    def read_exactly(self, path: str, num_bytes: int | None = None) -> Taken | None:
        """The bytes of the object of exactly this path, with their signature; None where there is none."""
        if not _is_plain(path) or ("_table" in self.__dict__ and self.at_path(path) is None):
            return None
        store, key = open_store(self.at.bucket), self._key(path)
        try:
            if num_bytes is not None:
                start = obstore.get_range(store, key, start=0, length=num_bytes)
                return bytes(start) or Rejection(Reason.EMPTY_FILE), None
            answer = obstore.get(store, key)
            size = answer.meta["size"]
            signature: Signature = [size, answer.meta["e_tag"] or str(answer.meta["last_modified"])]
            if size > MAX_FILE_BYTES:
                return Rejection(Reason.UNREADABLE_FILE, size, MAX_FILE_BYTES, "bytes"), signature
            return bytes(answer.bytes()) or Rejection(Reason.EMPTY_FILE), signature
        except FileNotFoundError:
            return None
        except obstore.exceptions.PermissionDeniedError as error:
            return Rejection(Reason.UNREADABLE_FILE, detail=as_sentence(path, error)), None
        except obstore.exceptions.BaseError as error:
            if num_bytes is not None and "416" in str(error):  # no range of an empty object can be asked for
                return Rejection(Reason.EMPTY_FILE), None
            raise DiskOrNetworkError(as_sentence(f"{self.at.shown}/{path}", error)) from error

    def signature(self, entry: Entry) -> Signature:
        """[size in bytes, ETag]."""
        return [entry["size"], entry["stamp"]]

    def listing(self) -> Iterator[Listed | Unlisted]:
        """Every object."""
        return (Listed(*row) for row in self._table.in_order())

    def _key(self, path: str) -> str:
        return f"{self.at.path}/{path}" if self.at.path else path

    @cached_property
    def _table(self) -> NameTable:
        with tempfile.NamedTemporaryFile(suffix=".arrow") as file:  # the map outlives the name
            write_table(Path(file.name), objects_below(self.at))
            return NameTable(Path(file.name))

    def __getstate__(self) -> ObjectAddress:
        return self.at

    def __setstate__(self, state: ObjectAddress) -> None:
        object.__setattr__(self, "at", state)


def _is_plain(path: str) -> bool:
    """Whether a listed path can be an object's name as it stands."""
    return path == "/".join(parts_of(path) or ("", ""))


def objects_below(at: ObjectAddress) -> Iterator[Entry]:
    """Every object below an address, as entries of a name table.

    Raises:
        InputError: there is none.
    """
    start = len(at.path) + 1 if at.path else 0
    num = 0
    try:
        for page in obstore.list(open_store(at.bucket), at.path or None, chunk_size=PAGE):
            for found in page:
                num += 1
                yield {
                    "path": found["path"][start:],
                    "archive": 0,
                    "offset": 0,
                    "size": found["size"],
                    "packed_size": -1,
                    "stamp": found["e_tag"] or str(found["last_modified"]),
                }
    except (FileNotFoundError, obstore.exceptions.BaseError) as error:
        raise DiskOrNetworkError(as_sentence(at.shown, error)) from error
    if not num:
        raise InputError(f"{at.shown} holds nothing: check the address")
