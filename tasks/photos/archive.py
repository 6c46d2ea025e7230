"""Archives of photos, read where they lie: tar and zip by position, tar.gz through an index of places to re-enter.

An archive is gone through once. What is found is kept: the names with their positions and, for a tar.gz, every 4 MiB
a place at which inflating can begin anew (0.1 % of its size, by rapidgzip). A photo in a tar.gz then costs half of
such a stretch, which is less than one pass through everything costs where five of six listed photos are never opened.
"""

import atexit
import io
import tarfile
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import rapidgzip

from storage.errors import DamagedFileError
from storage.reasons import Reason
from storage.rejection import Rejection
from tasks.photos.byte_files import ByteFile, LocalFile
from tasks.photos.name_table import Entry
from tasks.photos.photos import MAX_FILE_BYTES

Kind = Literal["tar", "gzip", "zip"]

_LOCAL_HEADER_BYTES = 30
_UNKNOWN_EXTRA_BYTES = 64
"""A zip writes up to so much more in front of a member than its directory says."""


def kind_of(file: ByteFile) -> Kind:
    """What an archive is, by its first bytes.

    Raises:
        DamagedFileError: it is none that can be read.
    """
    start = file.read(0, 512)
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if start[257:262] == b"ustar" or (len(start) == 512 and not start.strip(b"\0")):
        return "tar"
    raise DamagedFileError(f"{file.address} is no tar, tar.gz or zip archive: fetch it again, or unpack it")


def members(file: ByteFile, kind: Kind, stops: Path | None) -> Iterator[Entry]:
    """Every plain file in an archive.

    Args:
        file: the archive.
        kind: what `kind_of` says.
        stops: where the places to re-enter a tar.gz are written.

    Raises:
        DamagedFileError: it ends too early, or is damaged.
    """
    try:
        if kind == "zip":
            yield from _zip_members(file)
        elif kind == "tar":
            with file.open() as opened:
                yield from _tar_members(opened)
        else:
            assert stops is not None
            with _inflated(file) as opened:
                yield from _tar_members(opened)
                opened.seek(0, io.SEEK_END)
                opened.export_index(str(stops))
    except (tarfile.TarError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError, zlib.error) as error:
        raise DamagedFileError(f"{file.address} is cut or damaged, fetch it again: {error}") from error


def _tar_members(opened: Any) -> Iterator[Entry]:  # noqa: ANN401 - any readable file
    with tarfile.open(fileobj=opened, mode="r:") as archive:
        end = 0
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
            end = member.offset_data + member.size
            if member.isreg() and not member.issparse():
                yield _entry(member.name, member.offset_data, member.size, stamp=f"{member.mtime:.9g}")
        if end and (opened.seek(0, io.SEEK_END)) < end:
            raise tarfile.ReadError(f"the last file ends at byte {end}, the archive before")


def _zip_members(file: ByteFile) -> Iterator[Entry]:
    with file.open() as opened, zipfile.ZipFile(opened) as archive:
        for member in archive.filelist:
            if not member.is_dir():
                name_bytes = len(member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437"))
                packed = _LOCAL_HEADER_BYTES + name_bytes + len(member.extra) + member.compress_size
                stamp = f"{member.CRC:08x}"
                yield _entry(member.filename, member.header_offset, member.file_size, stamp, packed)


def _entry(path: str, offset: int, size: int, stamp: str, packed_size: int = -1) -> Entry:
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    name = "/".join(parts).encode("utf-8", "backslashreplace").decode()
    return {
        "path": name or "_",
        "archive": 0,
        "offset": offset,
        "size": size,
        "packed_size": packed_size,
        "stamp": stamp,
    }


def read_member(file: ByteFile, entry: Entry, stops: Path | None, num_bytes: int | None = None) -> bytes | Rejection:
    """The bytes of one file in an archive, or the first `num_bytes` of them where that is cheaper."""
    size = entry["size"]
    if size > MAX_FILE_BYTES:
        return Rejection(Reason.UNREADABLE_FILE, size, MAX_FILE_BYTES, "bytes")
    if not size:
        return Rejection(Reason.EMPTY_FILE)
    if entry["packed_size"] >= 0:
        return _unzipped(file, entry)
    wanted = size if num_bytes is None else min(size, num_bytes)
    data = file.read(entry["offset"], wanted) if stops is None else _from_gzip(file, stops, entry["offset"], wanted)
    return data if len(data) == wanted else Rejection(Reason.TRUNCATED_IMAGE, detail="the archive ends before")


def _unzipped(file: ByteFile, entry: Entry) -> bytes | Rejection:
    offset, packed = entry["offset"], entry["packed_size"]
    data = file.read(offset, packed + _UNKNOWN_EXTRA_BYTES)
    if data[:4] != b"PK\x03\x04" or len(data) < _LOCAL_HEADER_BYTES:
        return Rejection(Reason.UNREADABLE_FILE, detail="the archive is damaged here: no local header")
    flags, method = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    start = _LOCAL_HEADER_BYTES + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")
    if flags & 1 or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Rejection(Reason.UNREADABLE_FILE, detail="encrypted" if flags & 1 else f"zip method {method}")
    if start > len(data) or (method == zipfile.ZIP_STORED and start + entry["size"] > len(data)):
        data += file.read(offset + len(data), start + entry["size"] - len(data))
    try:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        stored = method == zipfile.ZIP_STORED
        content = data[start : start + entry["size"]] if stored else inflate.decompress(data[start:], entry["size"])
    except zlib.error as error:
        return Rejection(Reason.UNREADABLE_FILE, detail=f"the archive is damaged here: {error}")
    if len(content) != entry["size"] or f"{zlib.crc32(content):08x}" != entry["stamp"]:
        return Rejection(Reason.UNREADABLE_FILE, detail="the archive is damaged here: another checksum")
    return content


def _inflated(file: ByteFile) -> Any:  # noqa: ANN401 - a library without types
    source = str(file.path) if isinstance(file, LocalFile) else file.open()
    return rapidgzip.RapidgzipFile(source, parallelization=1)


MAX_OPEN = 16
_inflating = threading.Lock()
_open: OrderedDict[tuple[ByteFile, Path], Any] = OrderedDict()


def _from_gzip(file: ByteFile, stops: Path, offset: int, length: int) -> bytes:
    with _inflating:  # an open archive has one position
        opened = _open.pop((file, stops), None)
        if opened is None:
            opened = _inflated(file)
            opened.import_index(str(stops))
        _open[file, stops] = opened
        if len(_open) > MAX_OPEN:
            _open.popitem(last=False)[1].close()
        opened.seek(offset)
        return bytes(opened.read(length))


@atexit.register
def _close_all() -> None:
    """The library's threads must end before Python does."""
    while _open:
        _open.popitem()[1].close()
