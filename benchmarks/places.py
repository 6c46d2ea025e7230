"""Measure the crop stage on the same photos in a folder, a tar, a tar.gz, a zip, and a bucket, side by side.

    python benchmarks/places.py ../shared/data --photos 1200

The photos of the folder's COCO sample are repeated, packed, and put into a bucket of a real S3 server on this machine
(moto, a process of its own), as single objects and as an archive, also with 50 ms more for every answer. CPU seconds
and peak memory are those of the one process that crops. `lay_out` and `pack` make all six datasets of the mission as
they are unpacked and as they are downloaded; `tests/flows/test_places.py` holds that both give the same snapshot.
"""

import argparse
import csv
import io
import json
import logging
import os
import resource
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FORMATS = ("coco", "open_images", "objects365", "crowdhuman", "voc", "folder")
OI_COLUMNS = ["ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"]
OI_COLUMNS += ["IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"]
Source = dict[str, Any]


def people_of(coco: Path) -> list[tuple[Path, dict[str, Any], list[dict[str, Any]]]]:
    """Every photo of the sample that shows people: file, image record, its person boxes."""
    found = []
    for split in ("train2017", "val2017"):
        annotation = json.loads((coco / f"annotations/instances_{split}.json").read_text())
        boxes_of = defaultdict(list)
        for box in annotation["annotations"]:
            if box["category_id"] == 1 and not box["iscrowd"]:
                boxes_of[box["image_id"]].append(box)
        found += [
            (coco / split / i["file_name"], i, boxes_of[i["id"]]) for i in annotation["images"] if boxes_of[i["id"]]
        ]
    return found


def lay_out(data: Path, folder: Path, num_photos: int, with_folder: bool) -> list[Source]:
    """The six datasets unpacked below `folder`, photo after photo to each in turn; without LSDIR if nothing detects."""
    samples = people_of(data / "coco_mini")
    formats = FORMATS if with_folder else FORMATS[:-1]
    turns: dict[str, list[tuple[int, Path, dict[str, Any], list[dict[str, Any]]]]] = {name: [] for name in formats}
    for number in range(num_photos):
        turns[formats[number % len(formats)]].append((number, *samples[number % len(samples)]))
    return [globals()[f"_{name}"](folder / name, photos) for name, photos in turns.items()]


def _copy(file: Path, to: Path, number: int) -> None:
    """A photo under another name, and with other bytes behind its end: no two are the same file."""
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(file.read_bytes() + b"%08d" % number)


def _shaped(folder: Path, photos: Any, path_of: Any, listed_as: Any) -> dict[str, Any]:
    images, annotations = [], []
    for number, file, image, boxes in photos:
        _copy(file, folder / path_of(number), number)
        images.append(
            {"id": number, "file_name": listed_as(number), "width": image["width"], "height": image["height"]}
        )
        annotations += [
            {
                "id": len(annotations) + k,
                "image_id": number,
                "category_id": 1,
                "bbox": box["bbox"],
                "iscrowd": 0,
                "area": 1,
            }
            for k, box in enumerate(boxes)
        ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def _coco(folder: Path, photos: Any) -> Source:
    name = "{:012d}.jpg".format
    document = _shaped(folder, photos, lambda n: f"val2017/{name(n)}", name)
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_val2017.json").write_text(json.dumps(document))
    return _source("coco", folder / "val2017", annotations=str(folder / "annotations/instances_val2017.json"))


def _objects365(folder: Path, photos: Any) -> Source:
    path = "patch{0}/objects365_v1_{1:08d}.jpg"
    document = _shaped(
        folder, photos, lambda n: f"train/{path.format(n % 3, n)}", lambda n: f"images/v1/{path.format(n % 3, n)}"
    )
    (folder / "zhiyuan_objv2_train.json").write_text(json.dumps(document))
    return _source("objects365", folder / "train", annotations=str(folder / "zhiyuan_objv2_train.json"))


def _open_images(folder: Path, photos: Any) -> Source:
    rows = []
    for number, file, image, boxes in photos:
        _copy(file, folder / f"train_0/{number:016x}.jpg", number)
        for x, y, w, h in (box["bbox"] for box in boxes):
            corners = x / image["width"], (x + w) / image["width"], y / image["height"], (y + h) / image["height"]
            rows.append([f"{number:016x}", "xclick", "/m/01g317", 1, *(round(c, 6) for c in corners), 0, 0, 0, 0, 0])
    text = io.StringIO()
    csv.writer(text).writerows([OI_COLUMNS, *rows])
    (folder / "boxes.csv").write_text(text.getvalue())
    (folder / "classes.csv").write_text("/m/01g317,Person\n")
    return _source(
        "open_images", folder / "train_0", boxes=str(folder / "boxes.csv"), classes=str(folder / "classes.csv")
    )


def _crowdhuman(folder: Path, photos: Any) -> Source:
    lines = []
    for number, file, _, boxes in photos:
        _copy(file, folder / f"Images/{number},abc.jpg", number)
        people = [
            {"tag": "person", "fbox": b["bbox"], "vbox": b["bbox"], "hbox": b["bbox"], "extra": {}} for b in boxes
        ]
        lines.append(json.dumps({"ID": f"{number},abc", "gtboxes": people}))
    (folder / "annotation_train.odgt").write_text("\n".join(lines))
    return _source("crowdhuman", folder / "Images", annotations=str(folder / "annotation_train.odgt"))


def _voc(folder: Path, photos: Any) -> Source:
    (folder / "VOCdevkit/VOC2012/Annotations").mkdir(parents=True)
    for number, file, image, boxes in photos:
        _copy(file, folder / f"VOCdevkit/VOC2012/JPEGImages/2008_{number:06d}.jpg", number)
        objects = "".join(
            "<object><name>person</name><bndbox>"
            f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for x, y, w, h in (box["bbox"] for box in boxes)
        )
        size = f"<size><width>{image['width']}</width><height>{image['height']}</height></size>"
        text = f"<annotation><filename>2008_{number:06d}.jpg</filename>{size}{objects}</annotation>"
        (folder / f"VOCdevkit/VOC2012/Annotations/2008_{number:06d}.xml").write_text(text)
    base = folder / "VOCdevkit/VOC2012"
    return _source("voc", base / "JPEGImages", annotations=str(base / "Annotations"))


def _folder(folder: Path, photos: Any) -> Source:
    for number, file, *_ in photos:
        _copy(file, folder / f"train/{number // 100:04d}000/{number:07d}.jpg", number)
    return _source("folder", folder / "train")


def _source(name: str, photos: Path, **more: Any) -> Source:
    return {"format": name, "name": name.replace("_", "-"), "photos": str(photos), **more}


def pack(unpacked: Path, to: Path) -> list[Source]:
    """The same datasets as archives below `to`, as they are downloaded."""
    sources = []
    for folder in (unpacked / name for name in FORMATS if (unpacked / name).is_dir()):
        here = to / folder.name
        here.mkdir(parents=True)
        sources.append(globals()[f"_pack_{folder.name}"](folder, here))
    return sources


def _pack_coco(folder: Path, to: Path) -> Source:
    _zip(folder, "val2017", to / "val2017.zip")
    _zip(folder, "annotations", to / "annotations_trainval2017.zip")
    inner = to / "annotations_trainval2017.zip/annotations/instances_val2017.json"
    return _source("coco", to / "val2017.zip", annotations=str(inner))


def _pack_objects365(folder: Path, to: Path) -> Source:
    for patch in sorted((folder / "train").iterdir()):
        _tar(folder / "train", patch.name, to / f"{patch.name}.tar.gz", "w:gz")
    _gzip(folder / "zhiyuan_objv2_train.json", to)
    return _source("objects365", to / "patch*.tar.gz", annotations=str(to / "zhiyuan_objv2_train.json.gz"))


def _pack_open_images(folder: Path, to: Path) -> Source:
    _tar(folder, "train_0", to / "train_0.tar.gz", "w:gz")
    _gzip(folder / "boxes.csv", to)
    shutil.copy(folder / "classes.csv", to)
    boxes, classes = str(to / "boxes.csv.gz"), str(to / "classes.csv")
    return _source("open_images", to / "train_0.tar.gz", boxes=boxes, classes=classes)


def _pack_crowdhuman(folder: Path, to: Path) -> Source:
    (to / "photos").mkdir()
    _zip(folder, "Images", to / "photos/CrowdHuman_train01.zip")
    shutil.copy(folder / "annotation_train.odgt", to)
    return _source("crowdhuman", to / "photos", annotations=str(to / "annotation_train.odgt"))


def _pack_voc(folder: Path, to: Path) -> Source:
    _tar(folder, "VOCdevkit", to / "VOCtrainval.tar", "w")
    return _source("voc", to / "VOCtrainval.tar", annotations=str(to / "VOCtrainval.tar"))


def _pack_folder(folder: Path, to: Path) -> Source:
    _tar(folder / "train", ".", to / "shard-00.tar.gz", "w:gz")
    return _source("folder", to / "shard-00.tar.gz")


def _tar(base: Path, inner: str, to: Path, mode: Any) -> None:
    with tarfile.open(to, mode) as archive:
        archive.add(base / inner, inner)


def _gzip(file: Path, to: Path) -> None:
    import gzip

    (to / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))


def _zip(base: Path, inner: str, to: Path) -> None:
    with zipfile.ZipFile(to, "w") as archive:
        for file in sorted((base / inner).rglob("*")):
            archive.write(file, file.relative_to(base))
            archive.writestr(f"__MACOSX/{inner}/._{file.name}", b"litter")


def in_bucket(sources: list[Source], base: Path, bucket: str, query: str) -> list[Source]:
    """The sources with addresses in a bucket instead of the paths below `base`."""

    def moved(value: str) -> str:
        is_path = value.startswith(str(base))
        return f"s3://{bucket}/{Path(value).relative_to(base).as_posix()}{query}" if is_path else value

    return [{name: moved(value) for name, value in source.items()} for source in sources]


def configuration(name: str, root: Path, sources: list[Source], detector: str | None, workers: int) -> dict[str, Any]:
    """A run that keeps nearly every person, with the only metric that needs no network."""
    return {
        "name": name,
        "root": str(root),
        "sources": sources,
        "run": {"workers": workers, "photos_per_shard": 128},
        **({"detect": {"weights": detector, "class_ids": [0, 1], "confidence": 0.25}} if detector else {}),
        "crop": {"min_side_px": 60, "max_upscale": 6.0, "min_laplacian_variance": 20.0},
        "score": {"metrics": ["piqe"]},
        "select": {"top_share": 1.0, "limits": {}, "val_size": 4},
    }


def serve(port: int, delay_ms: int) -> None:
    """A real S3 server that answers so much later; ends with its process."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    app = DomainDispatcherApplication(create_backend_app)

    def late(environ: Any, start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            time.sleep(delay_ms / 1000)
        return app(environ, start_response)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    run_simple("127.0.0.1", port, late, threaded=True)


def crop(photos: str, annotations: str, root: str) -> None:
    """Ingest, then the crop stage alone, measured, in this process; prints one JSON line."""
    from storage.shard import Shard
    from storage.store import Store
    from tasks.crop.crop import crop_key, crop_shard
    from tasks.crop.filters import CropConfig
    from tasks.images.photo import PhotoConfig
    from tasks.ingest.ingest import ingest_source
    from tasks.photos.places import photos_of
    from tasks.sources.coco import CocoSource

    store, source = Store(root), CocoSource(name="bench", photos=photos, annotations=annotations)
    start = time.perf_counter()
    photos_of(source.photos, store).signature("no such photo")  # goes through archives once
    index_s = time.perf_counter() - start
    shards = ingest_source(store, source, 512)
    config = CropConfig(min_side_px=60, max_upscale=6.0, min_laplacian_variance=20.0)
    before, start = time.process_time(), time.perf_counter()
    reports = []
    for boxes in shards:
        out = Shard(store, "crop", source.name, boxes.number, crop_key(boxes, source, config, PhotoConfig()))
        reports.append(crop_shard(boxes, out, source, config, PhotoConfig()))
    measured = {"cpu_s": time.process_time() - before, "wall_s": time.perf_counter() - start, "index_s": index_s}
    counts = [report.counts["photo"] for report in reports]
    facts = {"photos": sum(count.num_in for count in counts), "kept": sum(count.num_kept for count in counts)}
    print(json.dumps({**measured, **facts, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))


def main() -> None:
    """Make the places, then measure one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=1200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = people_of(arguments.data / "coco_mini")
        source = _coco(folder / "coco", [(n, *samples[n % len(samples)]) for n in range(arguments.photos)])
        _zip(folder / "coco", "val2017", folder / "val2017.zip")
        _tar(folder / "coco", "val2017", folder / "val2017.tar", "w")
        _tar(folder / "coco", "val2017", folder / "val2017.tar.gz", "w:gz")
        places = {"folder": source["photos"]} | {k: str(folder / f"val2017.{k}") for k in ("tar", "tar.gz", "zip")}
        servers = {delay: _served(delay) for delay in (0, 50)}
        try:
            for delay, (_, query) in servers.items():
                _fill(query, folder)
                late = f", {delay} ms" if delay else ""
                places[f"s3 objects{late}"] = f"s3://people/val2017{query}"
                places[f"s3 tar{late}"] = f"s3://people/val2017.tar{query}"
            _measure(places, source["annotations"], folder / "root")
        finally:
            for process, _ in servers.values():
                process.kill()


def _measure(places: dict[str, str], annotations: str, root: Path) -> None:
    print(f"{'place':20}{'photos/core-s':>14}{'of folder':>10}{'wall s':>8}{'index s':>9}{'peak MB':>9}{'kept':>6}")
    rates: list[float] = []
    for place, address in places.items():
        arguments = address, annotations, str(root / place)
        call = [sys.executable, "-c", f"from benchmarks.places import crop; crop(*{arguments!r})"]
        done = subprocess.run(call, cwd=HERE.parent, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rates.append(found["photos"] / found["cpu_s"])
        print(
            f"{place:20}{rates[-1]:14.0f}{rates[-1] / rates[0]:10.2f}{found['wall_s']:8.1f}{found['index_s']:9.2f}"
            f"{found['peak_mb']:9.0f}{found['kept']:6}",
            flush=True,
        )


def _served(delay_ms: int) -> "tuple[subprocess.Popen[bytes], str]":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    call = f"from benchmarks.places import serve; serve({port}, {delay_ms})"
    process = subprocess.Popen([sys.executable, "-c", call], cwd=HERE.parent)
    return process, f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


def _fill(query: str, folder: Path) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError

    endpoint = f"http://{query.partition('=')[2].partition('&')[0]}"
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    for _ in range(300):
        try:
            client.create_bucket(Bucket="people")
            break
        except BotoCoreError:
            time.sleep(0.2)
    client.upload_file(str(folder / "val2017.tar"), "people", "val2017.tar")
    for file in (folder / "coco/val2017").iterdir():
        client.upload_file(str(file), "people", f"val2017/{file.name}")


if __name__ == "__main__":
    main()
