"""Measure the crop stage on real photos against the bare loop and the plain script.

    python benchmarks/crop_stage.py ../shared/data/coco_mini --photos 4000 --rounds 3

The photos of the folder's `instances_val2017.json` and `instances_train2017.json` are repeated under other names until
there are `--photos` of them. CPU seconds are those of the whole process tree, start-up and imports included; peak
memory is the largest sum of proportional set sizes (PSS), read from /proc twenty times a second.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
SLOW = {"plain_script": 4}
"""Scripts that get only every so-manieth photo."""
LIMITS = {"min_laplacian_variance": 50.0, "min_side_px": 100.0, "max_upscale": 6.0, "max_crowding": 9.0}


def repeat_photos(coco: Path, folder: Path, num_photos: int) -> Path:
    """Hard links to the photos that show people, with a COCO annotation of them; returns the annotation file."""
    images, boxes_of, categories, licenses = [], defaultdict(list), [], []
    for split in ("train2017", "val2017"):
        annotation = json.loads((coco / f"annotations/instances_{split}.json").read_text())
        categories, licenses = annotation["categories"], annotation["licenses"]
        person = next(c["id"] for c in categories if c["name"] == "person")
        for box in annotation["annotations"]:
            if box["category_id"] == person:
                boxes_of[box["image_id"]].append(box)
        images += [(split, image) for image in annotation["images"]]
    images = [(split, image) for split, image in images if image["id"] in boxes_of]
    photos = folder / "photos"
    photos.mkdir()
    out: dict[str, list[object]] = {"licenses": licenses, "images": [], "annotations": [], "categories": categories}
    for i in range(num_photos):
        split, image = images[i % len(images)]
        name = f"{i:08d}.jpg"
        shutil.copyfile(coco / split / image["file_name"], photos / name)
        out["images"].append({**image, "id": i, "file_name": name})
        out["annotations"] += [
            {**box, "id": len(out["annotations"]) + k, "image_id": i} for k, box in enumerate(boxes_of[image["id"]])
        ]
    path = folder / "annotations.json"
    path.write_text(json.dumps(out))
    return path


def pss_mb(pid: int) -> float:
    """Proportional set size of a process and its descendants, in MB (10^6 bytes)."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0.0
    return total / 1e6 + sum(pss_mb(int(child)) for child in children)


def measure(command: list[str]) -> dict[str, float]:
    """CPU and wall seconds of a command and everything it starts, and its peak memory in MB."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, cwd=HERE.parent)
    peaks = [0.0]

    def watch() -> None:
        while process.poll() is None:
            peaks[0] = max(peaks[0], pss_mb(process.pid))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    if process.wait():
        raise SystemExit(f"{command} ended with {process.returncode}")
    wall = time.perf_counter() - start
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu, "wall_s": wall, "peak_mb": peaks[0]}


def crop(ingested: str, out: str, num_workers: int) -> None:
    """The crop stage alone, as the flow runs it; called in a process of its own."""
    from flows.execution.processes import run_jobs
    from flows.pipeline import plan_crop

    store, source, shards = read_ingested(Path(ingested))
    planned = plan_crop(type(store)(out), source, shards, crop_config(), photo_config())
    run_jobs([job for _, job in planned if job is not None], num_workers, lambda _: None)


def crop_config():
    from tasks.crop.filters import CropConfig

    return CropConfig(**LIMITS)


def photo_config():
    from tasks.images.photo import PhotoConfig

    return PhotoConfig(pixel_formats=("rgb8", "grey8"))


def read_ingested(folder: Path):
    from storage.store import Store
    from tasks.ingest.ingest import ingested_shards
    from tasks.sources.coco import CocoSource

    source = CocoSource(name="bench", photos=folder / "photos", annotations=folder / "annotations.json")
    store = Store(str(folder / "root"))
    return store, source, ingested_shards(store, source, 256)


def work_list(folder: Path) -> tuple[int, int]:
    """Ingest the photos, and write which squares the crop stage will cut, for the two scripts."""
    from tasks.crop.filters import Candidate, choose_squares
    from tasks.ingest.ingest import ingest_source

    store, source, _ = read_ingested(folder)
    work = []
    for shard in ingest_source(store, source, 256):
        boxes_of = defaultdict(list)
        for row in shard.read("boxes").to_pylist():
            boxes_of[row["photo_id"]].append(row)
        for photo in shard.read("photos").to_pylist():
            size = photo["width_px"], photo["height_px"]
            outcomes = choose_squares(boxes_of[photo["photo_id"]], size, crop_config())
            squares = [outcome.square for _, outcome in outcomes if isinstance(outcome, Candidate)]
            if squares:
                work.append((photo["path"], squares))
    (folder / "work.json").write_text(json.dumps(work))
    return len(work), sum(len(squares) for _, squares in work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco", type=Path)
    parser.add_argument("--photos", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scripts", nargs="*", default=["bare_loop", "plain_script"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        repeat_photos(arguments.coco.resolve(), folder, arguments.photos)
        num_opened, num_crops = work_list(folder)
        print(
            f"{arguments.photos} photos listed, {num_opened} opened, {num_crops} squares; medians of {arguments.rounds}"
        )
        scripts = {
            name: [str(HERE / f"{name}.py"), str(folder / f"{name}.json"), str(folder / "photos"), str(folder / "out")]
            for name in arguments.scripts
        }
        work = json.loads((folder / "work.json").read_text())
        for name in scripts:
            (folder / f"{name}.json").write_text(json.dumps(work[:: SLOW.get(name, 1)]))
        stages = {f"crop stage, {n} worker{'s' * (n > 1)}": n for n in (1, 2)}
        runs: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(arguments.rounds):
            for name, num_workers in stages.items():
                out = folder / "crops"
                code = f"from benchmarks.crop_stage import crop; crop({str(folder)!r}, {str(out)!r}, {num_workers})"
                script = folder / "run.py"  # a file, as worker processes import the main module again
                script.write_text(
                    f"import sys; sys.path.insert(0, {str(HERE.parent)!r})\nif __name__ == '__main__':\n    {code}\n"
                )
                runs[name].append(measure([sys.executable, str(script)]))
                shutil.rmtree(out)
            for name, command in scripts.items():
                if name in SLOW and len(runs[name]) == 1:
                    continue  # slow and steady: once is enough
                runs[name].append(measure([sys.executable, *command]))
        rates = {}
        for name, results in runs.items():
            median = {key: statistics.median(r[key] for r in results) for key in results[0]}
            rates[name] = arguments.photos / SLOW.get(name, 1) / median["cpu_s"]
            print(
                f"{name:<24}{median['cpu_s']:8.2f} CPU s {median['wall_s']:8.2f} s"
                f" {rates[name]:8.1f} photos per core-second {median['peak_mb']:8.0f} MB"
            )
        for name in scripts:
            print(f"crop stage, 1 worker / {name}: {rates['crop stage, 1 worker'] / rates[name]:.2f}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(HERE.parent))
    main()
