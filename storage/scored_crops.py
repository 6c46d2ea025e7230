"""Finished shards of crops beside their scores, as `select`, `publish`, the report and the App read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from storage.shard import Shard

_PREFIX = "score/"


@dataclass(frozen=True)
class ScoredShard:
    """A finished shard of crops with its scores, one shard per metric."""

    crops: Shard
    scores: dict[str, Shard]


def score_stage(metric: str) -> str:
    """The stage under whose name the shards of a metric are kept."""
    return f"{_PREFIX}{metric}"


def shards_by_metric(stages: Mapping[str, Sequence[Shard]]) -> dict[str, Sequence[Shard]]:
    """Metric → its shards, of all stages of a run."""
    return {stage.removeprefix(_PREFIX): found for stage, found in stages.items() if stage.startswith(_PREFIX)}


def scored_shards(stages: Mapping[str, Sequence[Shard]]) -> list[ScoredShard]:
    """Every crop shard of a run with the scores that it has so far."""
    scores = {
        (shard.source, shard.number, metric): shard
        for metric, found in shards_by_metric(stages).items()
        for shard in found
    }
    metrics = list(shards_by_metric(stages))
    return [
        ScoredShard(
            crops,
            {m: scores[crops.source, crops.number, m] for m in metrics if (crops.source, crops.number, m) in scores},
        )
        for crops in stages.get("crop", [])
    ]


def aligned(table: pa.Table, crop_id: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    """A column of `table` in the order of `crop_id`, null where the table has no row for a crop."""
    return table[column].take(pc.index_in(crop_id, table["crop_id"].combine_chunks()))
