"""Addresses of buckets, and the connections that read from them.

`s3://bucket/path`, `gs://…` and `az://…`; who may read and where the server is say the usual variables of each cloud
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, …) or, as in a
root's address, `?endpoint_override=127.0.0.1:9000&scheme=http&region=us-east-1` behind it; `?anonymous=true` reads a
public bucket.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import obstore
from obstore.store import from_url

from storage.errors import InputError

SCHEMES = ("s3", "gs", "az")
MAX_RETRIES = 8
RETRY_FOR = timedelta(minutes=3)
REQUEST_TIMEOUT = timedelta(seconds=60)


@dataclass(frozen=True)
class ObjectAddress:
    """A bucket, with what is needed to reach it, and a path in it."""

    bucket: str  # the address of the bucket, query included
    path: str

    @property
    def shown(self) -> str:
        """The address without its query."""
        return f"{self.bucket.partition('?')[0]}/{self.path}"


def is_address(place: str) -> bool:
    """Whether a configured place is one in a bucket."""
    return "://" in place


def object_address(address: str) -> ObjectAddress:
    """What an address says.

    Raises:
        InputError: it is of no kind that can be read.
    """
    split = urlsplit(address)
    if split.scheme not in SCHEMES or not split.netloc:
        raise InputError(f"{address} is no address that can be read: write s3://, gs:// or az:// and a bucket")
    query = f"?{split.query}" if split.query else ""
    return ObjectAddress(f"{split.scheme}://{split.netloc}{query}", split.path.strip("/"))


@lru_cache(maxsize=16)
def open_store(bucket: str) -> Any:  # noqa: ANN401 - one class per cloud, without a common base
    """A connection to a bucket; failed requests are tried again with growing pauses, and none waits for ever."""
    split = urlsplit(bucket)
    given = {name: values[-1] for name, values in parse_qs(split.query).items()}
    config: Any = {}
    if "endpoint_override" in given:
        config["endpoint"] = f"{given.get('scheme', 'https')}://{given['endpoint_override']}"
    if "region" in given:
        config["region"] = given["region"]
    if given.get("anonymous") == "true":
        config["skip_signature"] = "true"
    retry: Any = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_FOR}
    options: Any = {"timeout": REQUEST_TIMEOUT, "allow_http": True}
    address = f"{split.scheme}://{split.netloc}"
    return from_url(address, config=config or None, client_options=options, retry_config=retry)


def as_sentence(address: str, error: Exception) -> str:
    """What went wrong with an address, in one sentence with the remedy."""
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    if isinstance(error, obstore.exceptions.PermissionDeniedError | obstore.exceptions.UnauthenticatedError):
        return f"{address} may not be read: check the credentials ({reason})"
    return f"{address} cannot be read: check the address and the network, then run again to go on ({reason})"
