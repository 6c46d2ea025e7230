"""Measure the same six sources unpacked, in archives, and in a bucket: same snapshot, rates and memory side by side.

    python benchmarks/places.py ../shared/data --photos 2000 --detector weights.pt

The photos of the folder's COCO sample are laid out as COCO, Open Images, Objects365, CrowdHuman, VOC and LSDIR publish
theirs, then packed as these datasets are downloaded (zip, tar, tar.gz), then put into a bucket of a real S3 server on
this machine, as single objects and as the same archives. `--slow-ms` makes that server answer later.
"""

import csv
import io
import json
import shutil
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KINDS = ("folder", "archive", "objects", "archive in bucket")
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
