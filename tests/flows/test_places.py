"""Where photos and annotations lie is no part of what comes out."""

import os
from pathlib import Path

import boto3
import cv2
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from benchmarks.places import configuration, in_bucket, lay_out, pack
from flows.config import CurateConfig
from flows.execution.run_record import TooManyFailuresError
from flows.pipeline import curate_with
from storage.config_file import validated


class InThisProcess:
    """Runs jobs one after the other; what is tested here is not the workers."""

    def run(self, stage, jobs):
        return [job.function(*job.arguments) for job in jobs]


@pytest.fixture(scope="module")
def bucket():
    """A bucket on a real S3 server of this machine: a client that fills it, and what addresses in it end with."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="people")
    yield client, f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    server.stop()


def curated(root: Path, sources):
    config = validated(CurateConfig, configuration("places", root, sources, None, 1), "test")
    snapshot = curate_with(InThisProcess(), config).snapshot
    return snapshot.id, [file for file in snapshot.manifest().files if file.rows is not None]


def test_archives_and_buckets_give_the_snapshot_of_the_unpacked_folders(shared_data, bucket, tmp_path):
    unpacked = lay_out(shared_data, tmp_path / "data/unpacked", 20, with_folder=False)
    packed = pack(tmp_path / "data/unpacked", tmp_path / "data/packed")
    client, query = bucket
    for file in (tmp_path / "data").rglob("*"):
        if file.is_file():
            client.upload_file(str(file), "people", file.relative_to(tmp_path / "data").as_posix())
    wanted = curated(tmp_path / "unpacked", unpacked)
    assert sum(file.rows for file in wanted[1]) > 10
    assert curated(tmp_path / "packed", packed) == wanted
    assert curated(tmp_path / "objects", in_bucket(unpacked, tmp_path / "data", "people", query)) == wanted
    assert curated(tmp_path / "archives", in_bucket(packed, tmp_path / "data", "people", query)) == wanted


def test_photos_that_are_not_downloaded_yet_are_counted_and_taken_up_later(shared_data, tmp_path):
    (coco,) = lay_out(shared_data, tmp_path / "data", 6, with_folder=False)[:1]
    (photo, *_) = sorted(Path(coco["photos"]).iterdir())
    data = photo.read_bytes()
    photo.unlink()
    with pytest.raises(TooManyFailuresError, match="the photo is not there"):
        curated(tmp_path / "root", [coco])
    _, files = curated(tmp_path / "root", [{**coco, "photos_missing": "skip"}])
    photo.write_bytes(data)
    _, more = curated(tmp_path / "root", [{**coco, "photos_missing": "skip"}])
    assert sum(file.rows for file in more) > sum(file.rows for file in files) > 0


def test_a_photo_replaced_under_its_name_gives_another_snapshot(shared_data, tmp_path):
    (coco,) = lay_out(shared_data, tmp_path / "data", 6, with_folder=False)[:1]
    photo = sorted(Path(coco["photos"]).iterdir())[0]
    before = curated(tmp_path / "root", [coco])
    cv2.imwrite(str(photo), cv2.flip(cv2.imread(str(photo)), 1))
    after = curated(tmp_path / "root", [coco])
    assert after[0] != before[0]
    assert after == curated(tmp_path / "fresh", [coco])
