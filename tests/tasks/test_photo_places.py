"""Where photos lie: the layouts that people unpack them to, archives as they were downloaded, and buckets."""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import boto3
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from pydantic import TypeAdapter

from storage.reasons import Reason
from storage.store import Store
from tasks.photos.names import is_litter
from tasks.photos.photos import Listed
from tasks.photos.places import PhotoPlaces, all_as_taken, any_changed, photos_of

PHOTOS = {
    "val2017/a.jpg": b"photo a" * 30_000,
    "val2017/b.JPG": b"photo b",
    "train2017/c.png": os.urandom(50_000),
    "v1/patch8/d.jpg": b"d" * 70_000,
    "twice/e.jpg": b"one",
    "again/e.jpg": b"other",
    "__MACOSX/val2017/._a.jpg": b"litter",
    "val2017/Thumbs.db": b"litter",
}


def as_folder(at: Path) -> str:
    for path, data in PHOTOS.items():
        (at / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        (at / "photos" / path).write_bytes(data)
    return str(at / "photos")


def as_tar(at: Path, mode: str = "w", name: str = "photos.tar") -> str:
    with tarfile.open(at / name, mode) as archive:
        for path, data in PHOTOS.items():
            member = tarfile.TarInfo(f"./{path}")
            member.size, member.mtime = len(data), 1_500_000_000
            archive.addfile(member, io.BytesIO(data))
    return str(at / name)


def as_gzip(at: Path) -> str:
    return as_tar(at, "w:gz", "photos.tar.gz")


def as_zip(at: Path) -> str:
    with zipfile.ZipFile(at / "photos.zip", "w") as archive:
        for number, (path, data) in enumerate(PHOTOS.items()):
            archive.writestr(path, data, zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
    return str(at / "photos.zip")


def as_patches(at: Path) -> str:
    """A folder of archives of different kinds, each with some of the photos."""
    (at / "patches").mkdir()
    for number, (path, data) in enumerate(PHOTOS.items()):
        with tarfile.open(
            at / f"patches/patch{number}.tar{'.gz' if number % 2 else ''}", f"w:{'gz' * (number % 2)}"
        ) as t:
            member = tarfile.TarInfo(path)
            member.size = len(data)
            t.addfile(member, io.BytesIO(data))
    return str(at / "patches")


@pytest.fixture(scope="module")
def bucket():
    """The address of a bucket on a real S3 server of this machine, and a client that fills it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="people")
    yield client, f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    server.stop()


@pytest.fixture(
    params=["folder", "tar", "gzip", "zip", "patches", "s3 objects", "s3 tar", "s3 gzip", "s3 zip", "s3 patches"]
)
def photos(request, tmp_path):
    """The same photos in every kind of place."""
    kind = request.param.removeprefix("s3 ")
    make = {
        "folder": as_folder,
        "objects": as_folder,
        "tar": as_tar,
        "gzip": as_gzip,
        "zip": as_zip,
        "patches": as_patches,
    }
    place = make[kind](tmp_path)
    if request.param.startswith("s3"):
        client, query = request.getfixturevalue("bucket")
        base = f"{tmp_path.name}/{kind}"
        for file in [Path(place)] if Path(place).is_file() else Path(place).rglob("*"):
            if file.is_file():
                key = file.name if file == Path(place) else file.relative_to(place).as_posix()
                client.upload_file(str(file), "people", f"{base}/{key}")
        name = f"/{Path(place).name}" if Path(place).is_file() else ""
        place = f"s3://people/{base}{name}{query}"
    return photos_of(TypeAdapter(PhotoPlaces).validate_python(place), Store(str(tmp_path / "root")))


FOUND = {
    "val2017/a.jpg": "val2017/a.jpg",
    "a.jpg": "val2017/a.jpg",
    "./val2017/a.jpg": "val2017/a.jpg",
    "C:\\data\\val2017\\a.jpg": "val2017/a.jpg",
    "/home/me/coco/val2017/a.jpg": "val2017/a.jpg",
    "http://images.cocodataset.org/val2017/a.jpg?dl=1": "val2017/a.jpg",
    "val2017/a": "val2017/a.jpg",
    "a.png": "val2017/a.jpg",
    "b.jpg": "val2017/b.JPG",
    "c": "train2017/c.png",
    "images/v1/patch8/d.jpg": "v1/patch8/d.jpg",
    "patch8/d.jpg": "v1/patch8/d.jpg",
    "twice/e.jpg": "twice/e.jpg",
}
LOST = {
    "e.jpg": Reason.AMBIGUOUS_FILE,
    "train2017/a.jpg": Reason.MISSING_FILE,  # the photo of that name in val2017 is another one
    "f.jpg": Reason.MISSING_FILE,
    "._a.jpg": Reason.MISSING_FILE,
    "../photos/val2017/a.jpg": Reason.PATH_OUTSIDE_ROOT,
    "": Reason.PATH_OUTSIDE_ROOT,
    "a\0.jpg": Reason.PATH_OUTSIDE_ROOT,
}


def test_a_photo_is_found_wherever_it_lies_or_refused(photos):
    assert {path: photos.read(path) == PHOTOS[file] for path, file in FOUND.items()} == dict.fromkeys(FOUND, True)
    assert {path: photos.read(path).reason for path in LOST} == LOST
    assert (
        photos.start("a.jpg", 9) == PHOTOS["val2017/a.jpg"][:9] or photos.start("a.jpg", 9) == PHOTOS["val2017/a.jpg"]
    )
    assert {entry.path for entry in photos.files() if isinstance(entry, Listed) and not is_litter(entry.path)} == {
        path for path in PHOTOS if not is_litter(path)
    }
    there = pickle.loads(pickle.dumps(photos))
    assert len(pickle.dumps(photos)) < 5000
    with there.reading(["a.jpg", "f.jpg", "c", "patch8/d.jpg"]) as read:
        assert read("a.jpg") == PHOTOS["val2017/a.jpg"]
        assert read("c") == PHOTOS["train2017/c.png"]  # f.jpg was not wanted after all
        assert read("b.jpg") == PHOTOS["val2017/b.JPG"]  # never announced
    signatures = {path: photos.signature(path) for path in (*FOUND, *LOST)}
    assert not any_changed(there, signatures)
    assert signatures["f.jpg"] is None
    assert all(signatures[path] for path in FOUND)


def test_a_replaced_photo_is_noticed_by_signature_or_by_its_bytes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    photos = photos_of((str(tmp_path),), Store(str(tmp_path)))
    photos.read("a.jpg")
    photos.read("absent.jpg")
    taken = photos.taken()
    assert taken.keys() == {"a.jpg"}
    assert not photos.taken()
    assert all_as_taken(photos, taken, thoroughly=False)
    facts = (tmp_path / "a.jpg").stat()
    (tmp_path / "a.jpg").write_bytes(b"two")
    os.utime(tmp_path / "a.jpg", ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as some copying programs do
    assert all_as_taken(photos, taken, thoroughly=False)
    assert not all_as_taken(photos, taken, thoroughly=True)
    os.utime(tmp_path / "a.jpg")
    assert not all_as_taken(photos, taken, thoroughly=False)
