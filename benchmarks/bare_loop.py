"""The least that can be done for a lossless crop: what the crop stage is measured against.

    python benchmarks/bare_loop.py WORK.json PHOTOS OUT.parquet

Reads each photo, decodes it, takes the Laplacian variance, resizes the given squares, encodes them with the same PNG
encoder and writes Parquet. It chooses nothing, checks nothing, explains nothing and starts again after a kill.
WORK.json is a list of [path, [[x_min, y_min, x_max, y_max], ...]]; `crop_stage.py` makes it.
"""

import json
import sys
from pathlib import Path

import cv2
import fpng
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIDE_PX, ROWS = 512, 32
SCHEMA = pa.schema([("png", pa.binary()), ("path", pa.string()), ("laplacian_variance", pa.float64())])


def main(work: str, photos: str, out: str) -> None:
    cv2.setNumThreads(1)
    with pq.ParquetWriter(out, SCHEMA, compression="none", use_dictionary=False, write_statistics=False) as writer:
        rows = []
        for path, squares in json.loads(Path(work).read_text()):
            pixels = cv2.imdecode(np.fromfile(f"{photos}/{path}", np.uint8), cv2.IMREAD_COLOR)
            grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
            _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S, ksize=1))
            for x_min, y_min, x_max, y_max in squares:
                shrinks = x_max - x_min > SIDE_PX
                crop = cv2.resize(
                    pixels[y_min:y_max, x_min:x_max],
                    (SIDE_PX, SIDE_PX),
                    interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
                )
                png = fpng.from_ndarray(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB))
                rows.append({"png": png, "path": path, "laplacian_variance": float(deviation[0, 0] ** 2)})
                if len(rows) == ROWS:
                    writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
                    rows = []
        if rows:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))


if __name__ == "__main__":
    main(*sys.argv[1:])
