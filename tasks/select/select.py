"""Write the verdict on every crop of a dataset; which one it is, `verdicts.py` decides."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.digest import digest
from storage.reasons import Reason
from storage.report import StageReport, Tally
from storage.reviews import Verdict
from storage.schema import REVIEWED, SELECTION
from storage.scored_crops import ScoredShard
from storage.shard import Shard, ShardWriter
from storage.store import Store
from tasks.select.crop_table import Metadata, read_metadata
from tasks.select.verdicts import Choice, CropTable, SelectConfig, choose, mean_and_std

VERSION = 1

STATISTICS = pa.schema(
    [
        pa.field("metric", pa.string(), nullable=False),  # or "score", eq. 1 itself
        pa.field("lower_is_better", pa.bool_(), nullable=False),
        pa.field("mean", pa.float64(), nullable=False),  # over all scored crops
        pa.field("std", pa.float64(), nullable=False),  # of the population
        ("limit", pa.float64()),  # inclusive; of "score": the lowest within the top share
        pa.field("num_crops", pa.int64(), nullable=False),  # scored by every metric
    ]
)


Reviews = Mapping[str, Verdict]
"""Crop id → what people said, as `storage.reviews.standing_verdicts` gives it."""


def selected_shards(
    store: Store,
    scored_shards: Sequence[ScoredShard],
    lower_is_better: Mapping[str, bool],
    config: SelectConfig,
    reviews: Reviews | None = None,
) -> list[Shard]:
    """Where `select` writes: one shard per source, in the order of their names; done or not."""
    inputs = [
        (
            s.crops.source,
            s.crops.number,
            s.crops.digest_of("crops"),
            {m: x.digest_of("scores") for m, x in s.scores.items()},
        )
        for s in scored_shards
    ]
    # The first limit that is violated is the reason, so the order of the limits belongs to the configuration.
    directions = dict(lower_is_better)
    # Without reviews the key is what it was before there were any.
    said = [dict(reviews)] if reviews else []
    key = digest(
        "select", VERSION, config.content(), list(config.limits), directions, sorted(inputs, key=lambda i: i[:3]), *said
    )
    return [Shard(store, "select", source, 0, key) for source in sorted({s.crops.source for s in scored_shards})]


def select(
    store: Store,
    scored_shards: Sequence[ScoredShard],
    lower_is_better: Mapping[str, bool],
    config: SelectConfig,
    reviews: Reviews | None = None,
) -> list[Shard]:
    """Write the verdict on every crop, one shard per source; nothing is done where all of them are there.

    Each shard holds the tables `selection` (in the order of crop ids) and `statistics`, the same one in all of them,
    and, where people reviewed any crop, `reviewed`: what they said, and what the pipeline had said without them.
    Only columns without pictures are read: 440,000 crops take 0.7 GB of memory and, for the hashes, 20 s of one core.

    Args:
        store: where to write.
        scored_shards: of all sources, in any order.
        lower_is_better: metric → direction, for exactly the metrics that were computed.
        config: the limits.
        reviews: what people said, also of crops of other datasets.
    """
    shards = selected_shards(store, scored_shards, lower_is_better, config, reviews)
    if shards and all(shard.is_done() for shard in shards):
        return shards
    metadata = read_metadata(scored_shards, reviews or {}, with_licences=config.allowed_licences is not None)
    choice = choose(metadata.crops, lower_is_better, config)
    tables = {
        "selection": selection_table(metadata, choice),
        "statistics": statistics_table(metadata.crops, choice, lower_is_better, config),
    }
    schemas = {"selection": SELECTION, "statistics": STATISTICS}
    if reviews:
        by_itself = choose(replace(metadata.crops, review=None), lower_is_better, config)
        tables["reviewed"] = reviewed_table(metadata, choice, by_itself)
        schemas["reviewed"] = REVIEWED
    for shard in shards:
        with ShardWriter(shard, **schemas) as out:
            here = {
                name: table.filter(pc.equal(table["source"], shard.source)) if "source" in table.column_names else table
                for name, table in tables.items()
            }
            for name, table in here.items():
                for batch in table.combine_chunks().to_batches():
                    out[name].extend(batch)
            out.commit(_report(shard, here["selection"]))
    return shards


def selection_table(metadata: Metadata, choice: Choice) -> pa.Table:
    """The choice as rows of SELECTION."""
    crop_id = metadata.table["crop_id"].combine_chunks()
    reasons: list[Reason | None] = choice.reason.tolist()
    split = np.where(choice.in_val, "val", "train").astype(object)
    split[~choice.kept] = None
    columns = {
        **{name: metadata.table[name] for name in ("crop_id", "source", "photo_id", "shard")},
        "score": _numbers(choice.score),
        "verdict": pa.array([_verdict(reason) for reason in reasons]),
        "split": pa.array(split, pa.string()),
        "reason": pa.array([None if reason is None else reason.value for reason in reasons], pa.string()),
        "metric": pa.array([None if name is None else str(name) for name in choice.metric], pa.string()),
        "value": _numbers(choice.value),
        "limit": _numbers(choice.limit),
        "better_crop_id": crop_id.take(pa.array(choice.better, mask=choice.better < 0)),
        "duplicate_group": crop_id.take(pa.array(choice.duplicate_group)),
        "photo_group": crop_id.take(pa.array(choice.photo_group)),
    }
    return pa.table([columns[name] for name in SELECTION.names], schema=SELECTION)


def _verdict(reason: Reason | None) -> str:
    return "kept" if reason is None else reason.outcome.value


def reviewed_table(metadata: Metadata, choice: Choice, by_itself: Choice) -> pa.Table:
    """Rows of REVIEWED: every crop that people spoke of, with both verdicts on it."""
    crops = metadata.crops
    assert crops.review is not None
    rows = [
        {
            "crop_id": str(crops.crop_id[i]),
            "source": metadata.table["source"][i].as_py(),
            "review": crops.review[i],
            "verdict": _verdict(choice.reason[i]),
            "reason": choice.reason[i],
            "own_verdict": _verdict(by_itself.reason[i]),
            "own_reason": by_itself.reason[i],
            "score": None if math.isnan(choice.score[i]) else float(choice.score[i]),
            "values": [
                {"metric": name, "value": None if math.isnan(values[i]) else float(values[i])}
                for name, values in sorted(crops.values.items())
            ],
        }
        for i in np.flatnonzero(crops.review != None).tolist()  # noqa: E711 - element by element
    ]
    return pa.Table.from_pylist(rows, schema=REVIEWED)


def _numbers(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def statistics_table(
    crops: CropTable, choice: Choice, lower_is_better: Mapping[str, bool], config: SelectConfig
) -> pa.Table:
    """Mean, std and limit of every metric and of the score itself, as rows of STATISTICS."""
    return pa.Table.from_pylist(list(_statistics(crops, choice, lower_is_better, config)), schema=STATISTICS)


def _statistics(
    crops: CropTable, choice: Choice, lower_is_better: Mapping[str, bool], config: SelectConfig
) -> Iterator[dict[str, object]]:
    scored = crops.scored
    columns = [
        (name, crops.values[name], lower_is_better[name], config.limits.get(name)) for name in sorted(crops.values)
    ]
    threshold = None if math.isnan(choice.threshold) else choice.threshold
    for name, values, lower, limit in [*columns, ("score", choice.score, False, threshold)]:
        mean, std = mean_and_std(values[scored])
        facts = {"lower_is_better": lower, "mean": mean, "std": std, "limit": limit}
        yield {"metric": name, **facts, "num_crops": int(np.count_nonzero(scored))}


def _report(shard: Shard, rows: pa.Table) -> StageReport:
    tally = Tally(shard.stage, shard.source, ("crop",))
    tally.enter("crop", rows.num_rows)
    tally.keep("crop", pc.sum(pc.equal(rows["verdict"], "kept")).as_py() or 0)
    for counted in pc.value_counts(rows["reason"]).to_pylist():
        if counted["values"] is not None:
            tally.lose("crop", Reason(counted["values"]), counted["counts"])
    return tally.report()
