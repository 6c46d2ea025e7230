"""Measure the degradation, and draw a sheet of crops above their LQ versions.

    python benchmarks/degradation.py ../shared/data/coco_mini/train2017 --sheet runs/degradation.png

Crops are the central squares of the folder's photos, resized to `--side`. CPU seconds are those of one thread, recipes
included.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np


def central_crop(path: Path, side_px: int) -> np.ndarray:
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    return cv2.resize(photo[top : top + side, left : left + side], (side_px, side_px), interpolation=cv2.INTER_AREA)


def sheet(crops: list[np.ndarray], lqs: list[np.ndarray], per_row: int = 4) -> np.ndarray:
    """Pairs side by side, HQ left."""
    pairs = [np.hstack(pair) for pair in zip(crops, lqs, strict=True)]
    return np.vstack([np.hstack(pairs[i : i + per_row]) for i in range(0, len(pairs), per_row)])


def main() -> None:
    from model.data.degradation import degrade, draw_recipe, training

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    paths = sorted(arguments.photos.glob("*.jpg"))
    crops = [central_crop(path, arguments.side) for path in paths]
    config = training()
    rates = []
    for epoch in range(arguments.rounds):
        start = time.process_time()
        lqs = [degrade(crop, draw_recipe(path.name, epoch, 0, config)) for path, crop in zip(paths, crops, strict=True)]
        rates.append(len(crops) / (time.process_time() - start))
        print(f"epoch {epoch}: {len(crops)} crops of {arguments.side} px, {rates[-1]:.1f} per core-second")
    if arguments.sheet:
        arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(arguments.sheet), sheet(crops[:16], lqs[:16]))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
