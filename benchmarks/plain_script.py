"""What one writes in an afternoon: Pillow for crop, resize and PNG, OpenCV's Laplacian in double precision.

    python benchmarks/plain_script.py WORK.json PHOTOS OUT.parquet

The same work as `bare_loop.py`, with the libraries' defaults.
"""

import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

SIDE_PX = 512


def main(work: str, photos: str, out: str) -> None:
    rows = []
    for path, squares in json.loads(Path(work).read_text()):
        photo = Image.open(f"{photos}/{path}").convert("RGB")
        variance = cv2.Laplacian(np.array(photo.convert("L")), cv2.CV_64F).var()
        for square in squares:
            crop = photo.crop(tuple(square)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
            png = io.BytesIO()
            crop.save(png, "PNG")
            rows.append({"png": png.getvalue(), "path": path, "laplacian_variance": variance})
    pd.DataFrame(rows).to_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
