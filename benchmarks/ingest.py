"""Measure how fast annotations become shards on one core, and what memory that takes.

    python benchmarks/ingest.py --boxes 1000000

Generates annotation files of the published shape in a temporary folder, ten boxes per photo: an Objects365 JSON, a
CrowdHuman ODGT, and two Open Images CSV files, whose photos (tiny JPEG files) exist, since their headers are read. One
has the classes in about their published shares, a quarter of the boxes being people; in the other all are people.
Reading, joining, checking and writing are all in the time; start-up and imports are not. Every measurement is a
process of its own, bound to one core; the peak memory is what the kernel says of it (VmHWM).
"""

import argparse
import json
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from storage.store import Store
from tasks.ingest.ingest import ingest_source
from tasks.sources.base import Source
from tasks.sources.crowdhuman import CrowdHumanSource
from tasks.sources.objects365 import Objects365Source
from tasks.sources.open_images import OpenImagesSource

BOXES_PER_PHOTO = 10
WIDTH_PX, HEIGHT_PX = 1024, 683
MIDS = {"Person": "/m/01g317", "Man": "/m/04yx4", "Woman": "/m/03bt1vf", "Clothing": "/m/09j2d", "Tree": "/m/07j7r"}
CSV_HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)


def random_box(rng: random.Random) -> tuple[float, float, float, float]:
    """x, y, width and height as shares of the photo."""
    return tuple(0.5 * rng.random() for _ in range(4))


def objects365(folder: Path, num_boxes: int) -> Source:
    """A JSON file with images first, as published; every box is a person."""
    rng, path = random.Random(0), folder / "objects365.json"
    (folder / "patch0").mkdir()
    with path.open("w") as file:
        images = (
            {"height": HEIGHT_PX, "id": i, "license": 5, "width": WIDTH_PX, "url": ""}
            | {"file_name": f"images/v1/patch0/objects365_v1_{i:08d}.jpg"}
            for i in range(num_boxes // BOXES_PER_PHOTO)
        )
        write_array(file, '{"images": ', images)
        annotations = (
            {"id": i, "iscrowd": 0, "isfake": 0, "area": 9876.5, "isreflected": 0}
            | {"bbox": [v * WIDTH_PX for v in random_box(rng)], "image_id": i // BOXES_PER_PHOTO, "category_id": 1}
            for i in range(num_boxes)
        )
        write_array(file, ', "annotations": ', annotations)
        write_array(file, ', "categories": ', [{"name": "Person", "id": 1}, {"name": "Sneakers", "id": 2}])
        file.write("}")
    return Objects365Source(name="objects365", photos=folder, annotations=path)


def write_array(file, start, items):
    """A JSON array, item by item."""
    file.write(start)
    for i, item in enumerate(items):
        file.write(("," if i else "[") + json.dumps(item))
    file.write("]")


def crowdhuman(folder: Path, num_boxes: int) -> Source:
    """An ODGT file; every box is a person with all three boxes."""
    rng, path = random.Random(0), folder / "crowdhuman.odgt"
    with path.open("w") as file:
        for i in range(num_boxes // BOXES_PER_PHOTO):
            boxes = []
            for k in range(BOXES_PER_PHOTO):
                xywh = [int(v * WIDTH_PX) + 1 for v in random_box(rng)]
                boxes.append(
                    {"fbox": xywh, "tag": "person", "hbox": xywh, "extra": {"box_id": k, "occ": 0}, "vbox": xywh}
                    | {"head_attr": {"ignore": 0, "occ": 0, "unsure": 0}}
                )
            file.write(json.dumps({"ID": f"273271,{i:015x}", "gtboxes": boxes}) + "\n")
    return CrowdHumanSource(name="crowdhuman", photos=folder, annotations=path)


def open_images(folder: Path, num_boxes: int, labels: list[str]) -> Source:
    """CSV files, and a JPEG file per photo; 1,000 names share one file by hard links."""
    rng = random.Random(0)
    photos = folder / "photos"
    photos.mkdir()
    ids = sorted(f"{rng.getrandbits(64):016x}" for _ in range(num_boxes // BOXES_PER_PHOTO))
    for i, photo_id in enumerate(ids):
        path = photos / f"{photo_id}.jpg"
        if i % 1000 == 0:
            original = path
            cv2.imwrite(str(path), np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8))
        else:
            os.link(original, path)
    (folder / "classes.csv").write_text("".join(f"{mid},{name}\n" for name, mid in MIDS.items()))
    with (folder / "boxes.csv").open("w") as file:
        file.write(CSV_HEADER)
        for photo_id in ids:
            for _ in range(BOXES_PER_PHOTO):
                x, y, width, height = random_box(rng)
                label = MIDS[rng.choice(labels)]
                file.write(f"{photo_id},xclick,{label},1,{x:.8g},{x + width:.8g},{y:.8g},{y + height:.8g},0,1,0,0,-1\n")
    return OpenImagesSource(
        name="open-images", photos=photos, boxes=folder / "boxes.csv", classes=folder / "classes.csv"
    )


PUBLISHED_SHARES = ["Man", "Woman", "Person"] + ["Clothing", "Tree"] * 4 + ["Tree"]
FORMATS: dict[str, Callable[[Path, int], Source]] = {
    "objects365": objects365,
    "open_images": lambda folder, num: open_images(folder, num, PUBLISHED_SHARES),
    "open_images, all people": lambda folder, num: open_images(folder, num, ["Man", "Woman", "Person"]),
    "crowdhuman": crowdhuman,
}


def measure(source: Source, root: str, photos_per_shard: int) -> dict[str, float]:
    """Ingest once, in a process of its own."""
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    start, start_cpu = time.perf_counter(), time.process_time()
    shards = ingest_source(Store(root), source, photos_per_shard)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": int(peak.split()[1]) * 1024 / 1e6,
        "num_shards": len(shards),
        "num_kept": sum(shard.num_rows("boxes") for shard in shards),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", default=list(FORMATS), help=f"of {', '.join(FORMATS)}; all by default")
    parser.add_argument("--boxes", type=int, default=1_000_000)
    parser.add_argument("--photos-per-shard", type=int, default=512)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for name in options.formats:
        with tempfile.TemporaryDirectory() as folder:
            source = FORMATS[name](Path(folder), options.boxes)
            with ProcessPoolExecutor(1, context) as pool:
                result = pool.submit(measure, source, f"{folder}/root", options.photos_per_shard).result()
        print(
            f"{name:24} {options.boxes / result['seconds']:8,.0f} boxes/s  {result['seconds']:6.1f} s "
            f"({result['cpu_seconds']:.1f} s cpu)  peak {result['peak_mb']:4.0f} MB  "
            f"{result['num_kept']:,} boxes kept in {result['num_shards']} shards",
            flush=True,
        )


if __name__ == "__main__":
    main()
