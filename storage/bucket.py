"""A root on an object store: opened so that no call waits for ever, and looked at before any work begins."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow.fs as pafs

from storage.errors import DiskOrNetworkError, InputError

CONNECT_TIMEOUT_S = 10
SILENCE_TIMEOUT_S = 15
"""A connection over which nothing comes for so long is given up and tried anew."""
MAX_ATTEMPTS = 10
"""Of one call; with its growing pauses that bridges about a minute of errors."""
ATTEMPTS_AT_FIRST = 2
"""Of the very first call, so that a wrong address is told at once."""

_S3_OPTIONS = {"region", "scheme", "endpoint_override"}


def open_bucket(address: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a `s3://` or `gs://` address and the path within it, after its bucket was found.

    Args:
        address: `s3://BUCKET/PATH`, with `?endpoint_override=HOST:PORT&scheme=http&region=…` for other services than
            Amazon's; or whatever else Arrow opens.

    Raises:
        InputError: the address cannot be understood.
        DiskOrNetworkError: the bucket is not there, does not answer, or may not be read.
    """
    try:
        if address.startswith("s3://"):
            first, path = _s3(address, ATTEMPTS_AT_FIRST), _path(address)
            _find(first, path.split("/")[0], address)
            return _s3(address, MAX_ATTEMPTS), path
        filesystem, path = pafs.FileSystem.from_uri(address)
        _find(filesystem, path.split("/")[0], address)
        return filesystem, path.rstrip("/")
    except ValueError as error:  # Arrow's word for an address that it does not understand
        raise InputError(f"{address} is no address of an object store: {error}") from error


def _path(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}".rstrip("/")


def _s3(address: str, max_attempts: int) -> pafs.S3FileSystem:
    # Not by `from_uri`: an address cannot say how long to wait.
    parts = urlsplit(address)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if unknown := options.keys() - _S3_OPTIONS:
        raise InputError(f"{address}: {unknown.pop()!r} is unknown; there are {', '.join(sorted(_S3_OPTIONS))}")
    if parts.username:
        options |= {"access_key": unquote(parts.username), "secret_key": unquote(parts.password or "")}
    bucket = _path(address).split("/")[0]
    if "region" not in options and "endpoint_override" not in options:
        options["region"] = pafs.resolve_s3_region(bucket)
    return pafs.S3FileSystem(
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=SILENCE_TIMEOUT_S,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=max_attempts),
        **options,
    )


def _find(filesystem: pafs.FileSystem, bucket: str, address: str) -> None:
    try:
        found = filesystem.get_file_info(bucket).type != pafs.FileType.NotFound
    except OSError as error:
        raise DiskOrNetworkError(
            f"the bucket of {address} does not answer: look at its address, your credentials and the network ({error})"
        ) from error
    if not found:
        raise DiskOrNetworkError(f"there is no bucket {bucket}, which {address} names: create it, or mend the address")
