"""PERSONA-Val: crops that no training saw, each with the LQ picture that the training's degradation makes of it.

The recipe of every crop is drawn from its id alone (epoch 0) and stored beside the pictures, so a second build of the
same snapshot gives the same bytes, and anybody can degrade again.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, PositiveInt

from model.data.degradation import DegradationConfig, degrade, draw_recipe, persona_val
from storage.benchmark import (
    FOLDER,
    HQ,
    LQ,
    RECIPE,
    OnProgress,
    batches_of,
    commit_benchmark,
    schema_of,
    splits_of,
    write_part,
)
from storage.digest import digest
from storage.errors import InputError
from storage.frozen import Frozen
from storage.schema import with_image_feature
from storage.snapshot import Snapshot
from tasks.crop.crop import encode_png
from tasks.images.pictures import decoded

VERSION = 1
"""Part of every benchmark's id; raised whenever the same input would give another output."""

SPLIT = "val"
EPOCH = 0


class ValConfig(Frozen):
    """How the validation crops of a snapshot become a benchmark."""

    name: str = Field(default="persona-val", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """First part of the benchmark's name."""
    size: PositiveInt = 4216
    """How many crops at most, drawn by a seeded hash of their ids; the paper's are 4,216."""
    seed: int = 0
    """Another number draws other crops and other degradations."""
    degradation: DegradationConfig = persona_val()
    """How LQ is made; by default as in training."""


def planned_val(snapshot: Snapshot, config: ValConfig) -> Snapshot:
    """The benchmark that `build_val` makes, made or not."""
    key = digest("persona-val", VERSION, snapshot.manifest().digest, config)
    return Snapshot(snapshot.store, f"{config.name}-{key}", FOLDER)


def build_val(snapshot: Snapshot, config: ValConfig, on_progress: OnProgress | None = None) -> Snapshot:
    """Degrade the snapshot's val split once; returns at once where that was done.

    Every file of the split becomes one of the benchmark, a row group in memory at a time.

    Raises:
        ValueError: the snapshot has no val split.
    """
    benchmark = planned_val(snapshot, config)
    if benchmark.is_committed():
        return benchmark
    ids_in = {path: _crop_ids(snapshot, path) for path in splits_of(snapshot).get(SPLIT, [])}
    if not ids_in:
        raise InputError(f"{snapshot.id} has no val split: set select.val_size, and curate again")
    chosen = drawn(chain.from_iterable(ids_in.values()), config)
    facts = []
    for number, path in enumerate(path for path, ids in ids_in.items() if chosen.intersection(ids)):
        schema = val_schema(schema_of(snapshot, path))
        degraded = _degraded(batches_of(snapshot, path), schema, chosen, config, on_progress)
        facts.append(write_part(benchmark, SPLIT, number, schema, degraded))
    about = {
        "benchmark": SPLIT,
        "name": config.name,
        "snapshot": {"id": snapshot.id, "digest": snapshot.manifest().digest},
        "configuration": config.model_dump(mode="json"),
        "epoch": EPOCH,
    }
    return commit_benchmark(benchmark, facts, about)


def _crop_ids(snapshot: Snapshot, path: str) -> list[str]:
    return [crop_id for batch in batches_of(snapshot, path, ["crop_id"]) for crop_id in batch["crop_id"].to_pylist()]


def drawn(crop_ids: Iterable[str], config: ValConfig) -> set[str]:
    """The `size` ids with the smallest seeded hashes: whichever others there are, an id keeps its place."""

    def place(crop_id: str) -> bytes:
        return hashlib.blake2b(f"{config.seed}:{crop_id}".encode(), digest_size=16).digest()

    return set(sorted(crop_ids, key=place)[: config.size])


def val_schema(snapshot: pa.Schema) -> pa.Schema:
    """`lq`, `hq`, `recipe`, and all columns of the snapshot but `image`."""
    return with_image_feature(pa.schema([LQ, HQ, RECIPE, *(field for field in snapshot if field.name != "image")]))


def _degraded(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    chosen: set[str],
    config: ValConfig,
    on_progress: OnProgress | None,
) -> Iterator[pa.RecordBatch]:
    wanted = pa.array(sorted(chosen))
    for batch in batches:
        rows = batch.filter(pc.is_in(batch["crop_id"], wanted))
        if not rows.num_rows:
            continue
        lq, recipes = [], []
        for row in rows.select(["crop_id", "image"]).to_pylist():
            recipe = draw_recipe(row["crop_id"], EPOCH, config.seed, config.degradation)
            lq.append({"bytes": encode_png(degrade(decoded(row, "image"), recipe)), "path": f"{row['crop_id']}.lq.png"})
            recipes.append(recipe.model_dump_json())
        columns = {"lq": pa.array(lq, LQ.type), "hq": rows["image"], "recipe": pa.array(recipes, pa.string())}
        columns |= {name: rows[name] for name in schema.names if name not in columns}
        yield pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
        if on_progress:
            on_progress(rows.num_rows)
