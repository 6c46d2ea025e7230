"""What is known of all crops without their pictures: ids, hashes, squares and scores, from every shard."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import InputError
from storage.reviews import Verdict
from storage.scored_crops import ScoredShard, aligned
from storage.shard import Shard
from tasks.select.verdicts import CropTable

_COLUMNS = [
    "crop_id",
    "source",
    "photo_id",
    "photo_width_px",
    "photo_height_px",
    "square_xyxy_px",
    "photo_phash",
    "crop_phash",
]


@dataclass(frozen=True)
class Metadata:
    """The crops of a dataset without their pictures, in ascending order of crop id."""

    table: pa.Table  # crop_id, source, photo_id, shard
    crops: CropTable


_LICENCE = ["licence", "licence_url"]


def read_metadata(
    scored_shards: Sequence[ScoredShard], reviews: Mapping[str, Verdict], with_licences: bool = False
) -> Metadata:
    """Ids, hashes, squares and scores of all crops: 0.3 GB for 440,000.

    Args:
        scored_shards: of all sources, in any order.
        reviews: crop id → what people said; crops of other datasets may be among them.
        with_licences: read the licences too.

    Raises:
        ValueError: no shard, shards that lack a metric which others have, a score without a crop, or a crop id twice.
    """
    metrics = sorted({metric for shard in scored_shards for metric in shard.scores})
    tables = []
    for shard in scored_shards:
        if sorted(shard.scores) != metrics:
            raise InputError(f"{shard.crops.name} has scores of {sorted(shard.scores)}, others of {metrics}")
        crops = shard.crops.read("crops", [*_COLUMNS, *(_LICENCE if with_licences else [])])
        number = pa.array(np.full(crops.num_rows, shard.crops.number, np.int32))
        crops = crops.append_column("shard", number)
        for metric in metrics:
            crops = crops.append_column(f"score/{metric}", _values(crops["crop_id"], shard.scores[metric]))
        tables.append(crops)
    if not tables:
        raise InputError("there is nothing to select from: no shard of scored crops was given")
    table = pa.concat_tables(tables).combine_chunks()
    table = table.take(pc.sort_indices(table["crop_id"]))
    crop_id = table["crop_id"].to_numpy()
    twice = crop_id[1:][crop_id[1:] == crop_id[:-1]]
    if len(twice):
        raise InputError(f"crop {twice[0]} occurs twice: the same shard was given twice, or two sources share a name")
    side = np.column_stack([table["photo_width_px"].to_numpy(), table["photo_height_px"].to_numpy()] * 2)
    crops = CropTable(
        crop_id=crop_id,
        photo=_photo_numbers(table),
        photo_phash=table["photo_phash"].to_numpy(),
        crop_phash=table["crop_phash"].to_numpy(),
        square=_flat(table["square_xyxy_px"]).reshape(-1, 4) / side,
        values={metric: table[f"score/{metric}"].to_numpy() for metric in metrics},
        licence=np.column_stack([pc.fill_null(table[name], "").to_numpy() for name in _LICENCE])
        if with_licences
        else None,
        review=np.array([reviews.get(name) for name in crop_id], object) if reviews else None,
    )
    return Metadata(table.select(["crop_id", "source", "photo_id", "shard"]), crops)


def _flat(lists: pa.ChunkedArray) -> np.ndarray:
    return pa.chunked_array([chunk.flatten() for chunk in lists.chunks], lists.type.value_type).to_numpy()


def _values(crop_id: pa.ChunkedArray, shard: Shard) -> pa.Array:
    """The values of a score shard in the order of `crop_id`, NaN where there is none."""
    scored = shard.read("scores", ["crop_id", "value"])
    values = pc.fill_null(aligned(scored, crop_id, "value"), math.nan).combine_chunks()
    num_unknown = scored.num_rows - pc.sum(pc.is_in(scored["crop_id"], crop_id.combine_chunks()), min_count=0).as_py()
    if num_unknown:
        raise InputError(f"{shard.name} scores {num_unknown} crops that its crop shard does not hold: delete it")
    return values


def _photo_numbers(table: pa.Table) -> np.ndarray:
    """Equal numbers for crops of one photo; photo ids are unique within their source only."""
    sources, photos = (table[name].combine_chunks().dictionary_encode() for name in ("source", "photo_id"))
    return sources.indices.to_numpy().astype(np.int64) * len(photos.dictionary) + photos.indices.to_numpy()
