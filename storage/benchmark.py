"""A benchmark: pictures of low quality that models are judged on, published like a snapshot and as immutable.

benchmarks/NAME-0123456789ab/
    val/00000.parquet …     or test/…: `lq`, in val also `hq` and `recipe`, and what a snapshot says of a crop
    manifest.json           written last: with it the benchmark exists
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from storage.digest import sha256_of_file
from storage.errors import InputError
from storage.parquet import TableWriter
from storage.schema import IMAGE
from storage.sealed import Content
from storage.snapshot import (
    FORMAT_VERSION,
    FileFacts,
    Manifest,
    Snapshot,
    facts_of_written,
    note_written,
    published_at,
)
from storage.store import Store

FOLDER = "benchmarks"

LQ = pa.field("lq", IMAGE)  # PNG, 8-bit RGB; never null, but `datasets` wants the field nullable
HQ = pa.field("hq", IMAGE)
RECIPE = pa.field("recipe", pa.string(), nullable=False)  # JSON of the degradation that made `lq` of `hq`

OnProgress = Callable[[int], None]
"""Told how many more crops were done."""


def benchmark_at(folder: Path) -> Snapshot:
    """The benchmark in a local folder, wherever it lies below its root.

    Raises:
        ValueError: the folder holds no benchmark, or one that was changed.
    """
    found = published_at(str(folder))
    if found.folder != FOLDER:  # a copy: what is found out about it belongs beside it, not two folders above
        found = Snapshot(Store(str(folder.absolute().parent)), found.id, "")
    if found.manifest().benchmark is None:
        raise InputError(f"{folder} is no benchmark: make one with `persona benchmark val` or `test`")
    return found


def write_part(
    benchmark: Snapshot, split: str, number: int, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> FileFacts:
    """Write one file of a benchmark, unless it is there: then `batches` is not touched."""
    path = f"{split}/{number:05d}.parquet"
    target = benchmark.file(path)
    if written := facts_of_written(benchmark, path):
        return written
    with benchmark.store.new_file(target, durable=True) as aside:
        writer = TableWriter(aside, schema)
        try:
            for batch in batches:
                writer.extend(batch)
            num_bytes = writer.close().bytes
        except BaseException:
            writer.abandon()
            raise
        facts = FileFacts(path, split, writer.num_rows, num_bytes, sha256_of_file(aside))
    return note_written(benchmark, facts)


def commit_benchmark(benchmark: Snapshot, facts: Iterable[FileFacts], about: Content) -> Snapshot:
    """Write the manifest: from now on the benchmark is complete, and stays as it is.

    Args:
        benchmark: of which every part was written.
        facts: what `write_part` returned.
        about: what it was made from; `benchmark` names its kind, val or test.
    """
    files = sorted(facts, key=lambda file: file.path)
    benchmark.commit({**about, "format_version": FORMAT_VERSION, "id": benchmark.id, "files": files})
    return benchmark


def num_rows(manifest: Manifest) -> int:
    """Pictures in a benchmark."""
    return manifest.num_rows


def has_hq(manifest: Manifest) -> bool:
    """Whether the pictures come with the high-quality ones that they were made of."""
    return manifest.benchmark == "val"


def splits_of(published: Snapshot) -> dict[str, list[str]]:
    """Split → its files, of a benchmark or a snapshot."""
    files: dict[str, list[str]] = {}
    for file in published.manifest().files:
        if file.split is not None:
            files.setdefault(file.split, []).append(file.path)
    return files


def batches_of(published: Snapshot, path: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """One of its files, a row group at a time, so that pictures never fill the memory."""
    with published.open(path) as parquet:
        for group in range(parquet.num_row_groups):
            yield from parquet.read_row_group(group, columns=columns).to_batches()


def schema_of(published: Snapshot, path: str) -> pa.Schema:
    """The columns of one of its files."""
    with published.open(path) as parquet:
        return parquet.schema_arrow
