import random
from pathlib import Path

import pytest

from storage.digest import sha256_of_file
from storage.errors import InputError
from storage.snapshot import (
    FORMAT_VERSION,
    FileFacts,
    Snapshot,
    list_snapshots,
    load_manifest,
    published_at,
    verify_snapshot,
)
from storage.store import Store

CONTENT = {
    "train/00000.parquet": random.Random(0).randbytes(5000),
    "val/00000.parquet": random.Random(1).randbytes(300),
    "README.md": "Grüße\n".encode(),
    "croissant.json": b'{"a": 1}\n',
}


@pytest.fixture
def snapshot(tmp_path):
    snapshot = Snapshot(Store(str(tmp_path)), "people-0123456789ab")
    files = []
    for name, content in CONTENT.items():
        with snapshot.store.new_file(snapshot.file(name)) as aside:
            aside.write_bytes(content)
            files.append(FileFacts(name, name.split("/")[0], 3, len(content), sha256_of_file(aside)))
    assert not snapshot.is_committed() and list_snapshots(snapshot.store) == []
    snapshot.commit({"format_version": FORMAT_VERSION, "name": "Völker", "numbers": [1, 2.5, None], "files": files})
    return snapshot


def problems(snapshot):
    return verify_snapshot(snapshot.store, snapshot.path)


def test_an_untouched_snapshot_has_no_problems(snapshot):
    assert problems(snapshot) == []
    assert snapshot.is_committed() and list_snapshots(snapshot.store) == [snapshot]
    # Also by the address of its own folder, or of the folder above.
    folder = snapshot.store.local(snapshot.path)
    assert verify_snapshot(Store(str(folder)), "") == verify_snapshot(Store(str(folder.parent)), snapshot.id) == []


@pytest.mark.parametrize("name", [*CONTENT, "manifest.json"])
def test_one_flipped_bit_is_found_in_every_file(snapshot, name):
    path = snapshot.store.local(snapshot.file(name))
    original = path.read_bytes()
    chance = random.Random(name)
    places = (
        range(len(original)) if name == "manifest.json" else chance.sample(range(len(original)), min(40, len(original)))
    )
    for place in places:
        damaged = bytearray(original)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        assert len(problems(snapshot)) == 1, place
        assert problems(snapshot)[0].startswith((name, snapshot.file(name)))
    path.write_bytes(original)
    assert problems(snapshot) == []


def test_missing_extra_and_shortened_files(snapshot):
    folder = snapshot.store.local(snapshot.path)
    (folder / "val/00000.parquet").unlink()
    (folder / "README.md").write_bytes(b"")
    (folder / "train/00001.parquet").write_bytes(b"x")
    assert problems(snapshot) == [
        "val/00000.parquet is missing.",
        f"README.md has 0 bytes, but was published with {len(CONTENT['README.md'])}.",
        "train/00001.parquet does not belong to the snapshot.",
    ]


def test_no_manifest_is_no_snapshot(snapshot):
    snapshot.store.local(snapshot.file("manifest.json")).unlink()
    assert "never finished" in problems(snapshot)[0]
    with pytest.raises(ValueError, match="never finished"):
        load_manifest(snapshot.store, snapshot.path)
    with pytest.raises(ValueError, match="no snapshot"):
        load_manifest(snapshot.store, "snapshots/nobody")


def test_a_manifest_of_another_format_is_refused(snapshot):
    snapshot.commit({"files": [], "format_version": 99})
    assert "format 99" in problems(snapshot)[0]


@pytest.mark.parametrize(
    ("address", "root", "path"),
    [
        ("/x", "/", "x"),
        ("/a/x", "/", "a/x"),
        ("/a/b/x/", "/a", "b/x"),
        ("s3://bucket/x", "s3://bucket", "x"),
        ("s3://bucket/a/b/x/?region=eu&scheme=http", "s3://bucket/a?region=eu&scheme=http", "b/x"),
    ],
)
def test_a_snapshot_lies_at_any_address(address, root, path):
    found = published_at(address)
    assert (found.store.root.rstrip("/") or "/", found.path) == (root, path)
    if root.startswith("/"):
        assert found.store.local(found.path) == Path(address)
        assert Store("/").full("") == "/"


def test_no_address_is_no_snapshot():
    with pytest.raises(InputError, match="is no snapshot"):
        published_at("/")
    with pytest.raises(InputError, match="no snapshot"):
        published_at("/persona-nowhere").manifest()
