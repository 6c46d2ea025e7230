"""Pictures that others published as a benchmark: a folder of LQ, with or without the folder of HQ beside it.

PERSONA-Val comes as two folders, PERSONA-Test and MPII-Test as one each. A benchmark is named after the bytes of its
files, so the same folders give the same one, and another version of a set is another one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from storage.benchmark import FOLDER, HQ, LQ, OnProgress, commit_benchmark, write_part
from storage.digest import digest, sha256_of_file
from storage.errors import InputError
from storage.parquet import ROWS_WITH_IMAGES
from storage.rejection import Rejection
from storage.schema import with_image_feature
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.crop.crop import encode_png
from tasks.evaluate.pairing import Pairing, pair, picture_files
from tasks.images.picture_files import read_picture

VERSION = 1
ROWS_PER_FILE = 1024

_NUM_NAMED = 3
_PNG = b"\x89PNG"


@dataclass(frozen=True)
class Pair:
    """One picture of the benchmark, as files."""

    crop_id: str
    lq: Path
    hq: Path | None

    def key(self) -> tuple[str, str, str | None]:
        """Name and SHA-256 of each file."""
        return self.crop_id, sha256_of_file(self.lq), None if self.hq is None else sha256_of_file(self.hq)


def pairs_in(lq: Path, hq: Path | None) -> list[Pair]:
    """Every picture of the folders, in the order of their names.

    Raises:
        ValueError: a picture has no partner, or it is not certain which, or partners differ in size.
    """
    if hq is None:
        ids = [path.stem for path in picture_files(lq)]
        pairs = [Pair(crop_id, path, None) for crop_id, path in pair(lq, ids).files.items()]
    else:
        pairs = _paired(lq, hq)
    for one in pairs:
        sizes = {path: _size_px(path) for path in (one.lq, one.hq) if path is not None}
        if len(set(sizes.values())) > 1:
            found = " and ".join(f"{path.name} has {width}x{height} px" for path, (width, height) in sizes.items())
            raise InputError(f"{found}: bring LQ to the size of HQ, as the papers do before they restore it")
    return pairs


def _paired(lq: Path, hq: Path) -> list[Pair]:
    """Names of HQ in names of LQ, or the other way round, whichever holds; nothing is left over."""
    by_hq = {path.stem: path for path in picture_files(hq)}
    by_lq = {path.stem: path for path in picture_files(lq)}
    if len(by_hq) != len(by_lq):
        raise InputError(f"{hq} holds {len(by_hq):,} pictures and {lq} {len(by_lq):,}: every picture needs its partner")
    pairing = pair(lq, list(by_hq))
    if not pairing.in_order:
        _refuse_leftovers(pairing, by_hq, lq)
        return [Pair(name, pairing.files[name], path) for name, path in by_hq.items()]
    pairing = pair(hq, list(by_lq))
    if pairing.in_order:
        raise InputError(f"no name in {lq} holds one of {hq}, or the other way round: give partners one name")
    _refuse_leftovers(pairing, by_lq, hq)
    return [Pair(name, path, pairing.files[name]) for name, path in by_lq.items()]


def _refuse_leftovers(pairing: Pairing, names: dict[str, Path], folder: Path) -> None:
    alone = [path.name for name, path in names.items() if name not in pairing.files]
    if alone:
        more = f" and {len(alone) - _NUM_NAMED:,} more" if len(alone) > _NUM_NAMED else ""
        raise InputError(f"{', '.join(alone[:_NUM_NAMED])}{more} have no partner in {folder}")


def _size_px(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no picture that can be read: a benchmark must be whole") from error


def import_benchmark(
    store: Store,
    name: str,
    lq: Path,
    hq: Path | None = None,
    published: str | None = None,
    on_progress: OnProgress | None = None,
) -> Snapshot:
    """The benchmark of these pictures, written where it is not there yet.

    Args:
        store: below which it lies.
        name: first part of its name.
        lq: folder of the LQ pictures.
        hq: folder of the HQ pictures, of the same names and sizes.
        published: the set of `tasks.evaluate.published` that it is, whose rows stand beside its evaluations.
        on_progress: told how many more pictures were read.

    Raises:
        ValueError: see `pairs_in`; or a picture cannot be read.
    """
    pairs = pairs_in(lq, hq)
    kind = "test" if hq is None else "val"
    key = digest("import", VERSION, kind, published, [one.key() for one in pairs])
    benchmark = Snapshot(store, f"{name}-{key}", FOLDER)
    if benchmark.is_committed():
        return benchmark
    fields = [LQ, *([] if hq is None else [HQ]), pa.field("crop_id", pa.string(), nullable=False)]
    schema = with_image_feature(pa.schema([*fields, pa.field("source", pa.string(), nullable=False)]))
    facts = [
        write_part(benchmark, kind, number, schema, _batches(some, schema, name, on_progress))
        for number, some in enumerate(_sliced(pairs, ROWS_PER_FILE))
    ]
    return commit_benchmark(benchmark, facts, {"benchmark": kind, "name": name, "published": published})


def _sliced(pairs: Sequence[Pair], num: int) -> Iterator[Sequence[Pair]]:
    yield from (pairs[start : start + num] for start in range(0, len(pairs), num))


def _batches(
    pairs: Sequence[Pair], schema: pa.Schema, source: str, on_progress: OnProgress | None
) -> Iterator[pa.RecordBatch]:
    for some in _sliced(pairs, ROWS_WITH_IMAGES):
        rows = []
        for one in some:
            pictures = {"lq": one.lq, "hq": one.hq}
            images = {side: {"bytes": _png(path), "path": path.name} for side, path in pictures.items() if path}
            rows.append({**images, "crop_id": one.crop_id, "source": source})
        yield pa.RecordBatch.from_pylist(rows, schema)
        if on_progress:
            on_progress(len(some))


def _png(path: Path) -> bytes:
    """The file's own bytes where it is a plain PNG, else a PNG of what it shows."""
    read = read_picture(path)
    if isinstance(read, Rejection):
        raise InputError(f"{path}: {read.words}; a benchmark must be whole")
    picture = read.bgr
    own = path.read_bytes()
    as_it_is = cv2.imdecode(np.frombuffer(own, np.uint8), cv2.IMREAD_UNCHANGED)
    plain = own.startswith(_PNG) and as_it_is is not None and np.array_equal(as_it_is, picture)
    return own if plain else encode_png(picture)
