"""A benchmark: pictures of low quality that models are judged on, published like a snapshot and as immutable.

benchmarks/NAME-0123456789ab/
    val/00000.parquet …     or test/…: `lq`, in val also `hq` and `recipe`, and what a snapshot says of a crop
    manifest.json           written last: with it the benchmark exists
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.digest import sha256_of_file
from storage.errors import InputError
from storage.schema import IMAGE
from storage.shard import TableWriter
from storage.snapshot import FORMAT_VERSION, FileFacts, Manifest, Snapshot, published_at, sha256_of_stored_file

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
    if "benchmark" not in found.manifest():
        raise InputError(f"{folder} is no benchmark: make one with `persona benchmark val` or `test`")
    return found


def write_part(
    benchmark: Snapshot, split: str, number: int, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> FileFacts:
    """Write one file of a benchmark, unless it is there: then `batches` is not touched."""
    path = f"{split}/{number:05d}.parquet"
    target = benchmark.file(path)
    if benchmark.store.exists(target):
        return _facts_of_written(benchmark, path, split)
    with benchmark.store.new_file(target, durable=True) as aside:
        writer = TableWriter(aside, schema)
        try:
            for batch in batches:
                writer.extend(batch)
            num_bytes = writer.close()["bytes"]
        except BaseException:
            writer.abandon()
            raise
        return FileFacts(path, split, writer.num_rows, num_bytes, sha256_of_file(aside))


def _facts_of_written(benchmark: Snapshot, path: str, split: str) -> FileFacts:
    """What an earlier run wrote and did not live to commit."""
    store, name = benchmark.store, benchmark.file(path)
    with store.filesystem.open_input_file(store.full(name)) as file:
        num_rows = pq.ParquetFile(file).metadata.num_rows
    return FileFacts(path, split, num_rows, store.size_bytes(name) or 0, sha256_of_stored_file(store, name))


def commit_benchmark(benchmark: Snapshot, facts: Iterable[FileFacts], about: Manifest) -> Snapshot:
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
    return sum(file["rows"] or 0 for file in manifest["files"])


def has_hq(manifest: Manifest) -> bool:
    """Whether the pictures come with the high-quality ones that they were made of."""
    return bool(manifest["benchmark"] == "val")


def splits_of(published: Snapshot) -> dict[str, list[str]]:
    """Split → its files, of a benchmark or a snapshot."""
    files: dict[str, list[str]] = {}
    for file in published.manifest()["files"]:
        if file["split"] is not None:
            files.setdefault(file["split"], []).append(file["path"])
    return files


def batches_of(published: Snapshot, path: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """One of its files, a row group at a time, so that pictures never fill the memory."""
    with published.store.filesystem.open_input_file(published.store.full(published.file(path))) as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            yield from parquet.read_row_group(group, columns=columns).to_batches()


def schema_of(published: Snapshot, path: str) -> pa.Schema:
    """The columns of one of its files."""
    with published.store.filesystem.open_input_file(published.store.full(published.file(path))) as file:
        return pq.ParquetFile(file).schema_arrow
