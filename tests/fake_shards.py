"""Small datasets of finished crop and score shards, for the stages behind scoring; and a way to be killed on time."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from storage.digest import digest
from storage.report import Tally
from storage.schema import CROPS, REJECTS, SCORES
from storage.scored_crops import ScoredShard
from storage.shard import Shard, ShardWriter
from storage.store import Store

LOWER_IS_BETTER = {"clipiqa": False, "niqe": True}


def random_hashes(num: int, seed: int = 0) -> list[int]:
    """Hashes of unrelated pictures: 32 of 64 bits set, as with pHash."""
    rng = np.random.default_rng(seed)
    bits = rng.permuted(np.tile(np.arange(64) < 32, (num, 1)), axis=1)
    return [int.from_bytes(np.packbits(row).tobytes(), "big") for row in bits]


def flipped(value: int, *bits: int) -> int:
    """A hash with some of its bits turned over."""
    for bit in bits:
        value ^= 1 << bit
    return value


def png_of(seed: int, side: int = 16) -> bytes:
    """A picture of random pixels, different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def crop_row(number: int, **columns: Any) -> dict[str, Any]:
    """A row of CROPS, of a photo of its own unless `columns` says otherwise."""
    crop_id = columns.get("crop_id", f"c{number:04d}")
    photo_hash, crop_hash = random_hashes(2, seed=1000 + number)
    return {
        "image": {"bytes": png_of(number), "path": f"{crop_id}.png"},
        "crop_id": crop_id,
        "source": "coco",
        "photo_id": f"p{number}",
        "box_id": "0",
        "photo_path": f"{number}.jpg",
        "photo_width_px": 640,
        "photo_height_px": 480,
        "square_xyxy_px": [10, 20, 110, 120],
        "source_side_px": 100,
        "person_bbox_xyxy_px": [1.0, 2.0, 15.5, 16.0],
        "people_bbox_xyxy_px": [[1.0, 2.0, 15.5, 16.0], [0.0, 0.0, 4.0, 8.0]],
        "num_people": 2,
        "laplacian_variance": 123.5,
        "photo_phash": photo_hash,
        "crop_phash": crop_hash,
        "licence": "CC BY 2.0",
        "licence_url": "https://creativecommons.org/licenses/by/2.0/",
        "author": None,
        "photo_url": None,
        "page_url": None,
        **columns,
    }


def write_shard(
    store: Store, number: int, rows: Sequence[dict[str, Any]], values: Mapping[str, Mapping[str, float]]
) -> ScoredShard:
    """A crop shard of one source with its scores; `values` is metric → crop id → value, missing ones allowed."""
    source = rows[0]["source"]
    key = digest([row["crop_id"] for row in rows], values)
    crops = Shard(store, "crop", source, number, key)
    with ShardWriter(crops, crops=CROPS, rejects=REJECTS) as out:
        for row in rows:
            out["crops"].append(row)
        out.commit(_report(crops, len(rows)))
    scores = {}
    for metric, of_crop in values.items():
        scores[metric] = Shard(store, f"score/{metric}", source, number, key)
        with ShardWriter(scores[metric], scores=SCORES, rejects=REJECTS) as out:
            here = [row["crop_id"] for row in rows if row["crop_id"] in of_crop]
            for crop_id in here:
                out["scores"].append({"crop_id": crop_id, "metric": metric, "value": of_crop[crop_id]})
            out.commit(_report(scores[metric], len(here)))
    return ScoredShard(crops, scores)


def _report(shard: Shard, num: int) -> Any:
    tally = Tally(shard.stage, shard.source, ("crop",))
    tally.enter("crop", num)
    tally.keep("crop", num)
    return tally.report()


def two_sources(store: Store, num: int = 24) -> list[ScoredShard]:
    """Two shards of coco and one of voc, all crops scored by random values and unlike each other."""
    rng = np.random.default_rng(7)
    rows = [crop_row(i, source="voc" if i % 3 == 0 else "coco") for i in range(num)]
    values = {name: {row["crop_id"]: float(rng.normal()) for row in rows} for name in LOWER_IS_BETTER}
    coco = [row for row in rows if row["source"] == "coco"]
    voc = [row for row in rows if row["source"] == "voc"]
    half = len(coco) // 2
    return [
        write_shard(store, 0, coco[:half], values),
        write_shard(store, 1, coco[half:], values),
        write_shard(store, 0, voc, values),
    ]


def killed_at_rename(number: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Call a function in a process that is killed before it renames its file `number`; whether it came to that."""
    # Not forked: a fork of a process in which Arrow has started threads may wait for ever.
    child = multiprocessing.get_context("spawn").Process(target=_call_and_die, args=(number, function, args, kwargs))
    child.start()
    child.join(60)
    return child.exitcode == -signal.SIGKILL


def _call_and_die(number: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    replace, left = Path.replace, iter(range(number))

    def dying(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = dying
    function(*args, **kwargs)
