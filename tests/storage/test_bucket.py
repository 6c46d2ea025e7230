"""A bucket that is not there, or does not answer, is told at once and in one sentence."""

import socket

import pytest

from storage import bucket
from storage.errors import DiskOrNetworkError, ExitCode, InputError
from storage.store import Store


def test_a_bucket_that_never_answers_is_told(monkeypatch, s3_address):
    monkeypatch.setattr(bucket, "SILENCE_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        root = f"s3://people/root?endpoint_override=127.0.0.1:{silent.getsockname()[1]}&scheme=http&region=eu"
        with pytest.raises(DiskOrNetworkError, match=r"the bucket of s3://people/root.* does not answer") as error:
            Store(root).files("")
    assert error.value.exit_code == ExitCode.DISK_OR_NETWORK


def test_a_bucket_that_is_not_there_is_told(s3_address):
    with pytest.raises(DiskOrNetworkError, match=r"there is no bucket nobody, .*: create it, or mend the address"):
        Store(f"s3://nobody/root?{s3_address}").files("")


def test_an_address_with_an_unknown_option_is_refused():
    with pytest.raises(InputError, match="'regoin' is unknown; there are endpoint_override, region, scheme"):
        Store("s3://people/root?regoin=eu").files("")
