"""The crops of `learning_proof.py`: squares of photos to learn from, people of other photos to test on."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import yaml

from flows.config import CurateConfig
from flows.pipeline import already_curated
from storage.config_file import load_config
from storage.snapshot import Snapshot
from tasks.images.pictures import decoded
from tasks.publish.audit import audit

SIDE_PX = 128
TILES_PX = (480, 320, 224)
ANNOTATIONS = Path("coco_mini/annotations/instances_val2017.json")
HERE = Path(__file__).parent


def write_annotations(data: Path, out: Path) -> dict[str, Path]:
    """COCO files of squares to learn from and of people to test on; no photo is in both.

    The people are those of at least SIDE_PX in COCO's val2017. For learning they are far too few, so every other photo
    is covered with squares, announced as people since the crop stage cuts nothing else.
    """
    val = json.loads((data / ANNOTATIONS).read_text())
    people = [a for a in val["annotations"] if a["category_id"] == 1 and not a["iscrowd"]]
    people = [a for a in people if max(a["bbox"][2:]) >= SIDE_PX]
    held_out = {a["image_id"] for a in people}
    images = [{**image, "file_name": f"coco_mini/val2017/{image['file_name']}"} for image in val["images"]]
    test = [image for image in images if image["id"] in held_out]
    names = {image["file_name"] for image in test}
    photos = [*sorted((data / "coco_mini").glob("*2017/*.jpg")), *sorted((data / "unlabelled").iterdir())]
    learn = list(_described(data, [p for p in photos if str(p.relative_to(data)) not in names]))
    boxes = [(image["id"], square) for image in learn for square in tiles(image["width"], image["height"])]
    squares = [{"id": i, "image_id": key, "bbox": box, "category_id": 1} for i, (key, box) in enumerate(boxes)]
    written = {}
    for name, shown, annotations in (("learn", learn, squares), ("test", test, people)):
        written[name] = out / f"{name}.json"
        content = {"images": shown, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
        written[name].write_text(json.dumps(content | {"licenses": val["licenses"]}))
    return written


def _described(data: Path, photos: list[Path]) -> Iterator[dict[str, Any]]:
    for number, path in enumerate(photos):
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None and path.stat().st_size:
            height, width = pixels.shape[:2]
            yield {"id": number, "file_name": str(path.relative_to(data)), "width": width, "height": height}


def tiles(width_px: int, height_px: int) -> list[list[int]]:
    """Squares [x, y, side, side] that cover a photo, overlapping by about a half, in three sizes."""
    found = []
    for side in TILES_PX:
        if side <= min(width_px, height_px):
            columns, rows = (round(2 * (length - side) / side) + 1 for length in (width_px, height_px))
            for y in np.linspace(0, height_px - side, rows).round():
                found += [[int(x), int(y), side, side] for x in np.linspace(0, width_px - side, columns).round()]
    return found


def curate(name: str, data: Path, annotations: Path, out: Path) -> Snapshot:
    """A snapshot by the real pipeline, with limits that let nearly every crop pass.

    The crops to learn from are its train split, those to test on its val split.
    """
    learns = name == "learn"
    config = {
        "name": f"proof-{name}",
        "root": str(out / "dataset"),
        "sources": [{"format": "coco", "name": name, "photos": str(data), "annotations": str(annotations)}],
        "photo": {"pixel_formats": ["rgb8", "rgba8", "grey8"]},
        "crop": {"side_px": SIDE_PX, "min_side_px": SIDE_PX, "min_laplacian_variance": 50, "max_crowding": 99}
        | {"max_square_iou": 1.0 if learns else 0.5, "min_share_inside": 0.9 if learns else 0.6},
        "score": {"metrics": ["piqe"]},
        "select": {"top_share": 1.0, "val_size": 0 if learns else 1_000_000, "max_val_share": 1.0},
    }
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    subprocess.run([sys.executable, "-m", "flows.cli", "curate", str(path)], check=True, cwd=HERE.parent)
    curated = already_curated(load_config(CurateConfig, path))
    if curated is None:
        raise SystemExit(f"{path} was curated, and yet there is work left: was the code changed meanwhile? Run again")
    return curated.snapshot


def require_no_leak(learn: Snapshot, test: Snapshot) -> None:
    """Stop where the two share a photo, a near-duplicate photo or a near-duplicate crop."""
    leaks, _ = audit([learn, test])
    if leaks:
        raise SystemExit(f"{len(leaks)} pairs of near-duplicates between {learn.id} and {test.id}: {leaks[0]}")


def read_crops(snapshot: Snapshot) -> tuple[list[str], np.ndarray]:
    """Ids and pictures, (N, SIDE_PX, SIDE_PX, 3) uint8 BGR, of a whole snapshot."""
    files = sorted(Path(snapshot.store.full(snapshot.path)).glob("*/*.parquet"))
    rows = [row for file in files for row in pq.read_table(file, columns=["crop_id", "image"]).to_pylist()]
    return [row["crop_id"] for row in rows], np.stack([decoded(row, "image") for row in rows])
