"""Write the verdict on every crop of a dataset; which one it is, `verdicts.py` decides."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.digest import digest
from storage.reasons import Reason
from storage.report import StageReport, Tally
from storage.schema import SELECTION
from storage.shard import Shard, ShardWriter
from storage.store import Store
from tasks.scored_crops import Metadata, ScoredShard, read_metadata
from tasks.verdicts import Candidates, Choice, SelectConfig, choose, mean_and_std

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


def selected_shards(
    store: Store, scored_shards: Sequence[ScoredShard], lower_is_better: Mapping[str, bool], config: SelectConfig
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
    key = digest("select", VERSION, config, list(config.limits), directions, sorted(inputs, key=lambda i: i[:3]))
    return [Shard(store, "select", source, 0, key) for source in sorted({s.crops.source for s in scored_shards})]


def select(
    store: Store, scored_shards: Sequence[ScoredShard], lower_is_better: Mapping[str, bool], config: SelectConfig
) -> list[Shard]:
    """Write the verdict on every crop, one shard per source; nothing is done where all of them are there.

    Each shard holds the tables `selection` (in the order of crop ids) and `statistics`, the same one in all of them.
    Only columns without pictures are read: 440,000 crops take 0.7 GB of memory and, for the hashes, 20 s of one core.

    Args:
        store: where to write.
        scored_shards: of all sources, in any order.
        lower_is_better: metric → direction, for exactly the metrics that were computed.
        config: the limits.
    """
    shards = selected_shards(store, scored_shards, lower_is_better, config)
    if shards and all(shard.is_done() for shard in shards):
        return shards
    metadata = read_metadata(scored_shards)
    choice = choose(metadata.candidates, lower_is_better, config)
    selection = selection_table(metadata, choice)
    statistics = statistics_table(metadata.candidates, choice, lower_is_better, config)
    for shard in shards:
        rows = selection.filter(pc.equal(selection["source"], shard.source))
        with ShardWriter(shard, selection=SELECTION, statistics=STATISTICS) as out:
            for name, table in (("selection", rows), ("statistics", statistics)):
                for batch in table.combine_chunks().to_batches():
                    out[name].extend(batch)
            out.commit(_report(shard, rows))
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
        "verdict": pa.array(["kept" if reason is None else reason.outcome.value for reason in reasons]),
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


def _numbers(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def statistics_table(
    crops: Candidates, choice: Choice, lower_is_better: Mapping[str, bool], config: SelectConfig
) -> pa.Table:
    """Mean, std and limit of every metric and of the score itself, as rows of STATISTICS."""
    return pa.Table.from_pylist(list(_statistics(crops, choice, lower_is_better, config)), schema=STATISTICS)


def _statistics(
    crops: Candidates, choice: Choice, lower_is_better: Mapping[str, bool], config: SelectConfig
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
