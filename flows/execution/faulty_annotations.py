"""A run stops where too much of a source's annotations is broken, and says what is, with an example each."""

from collections import Counter
from collections.abc import Sequence

from storage.errors import ExitCode, PersonaError
from storage.reasons import Reason
from storage.report import Item, StageReport
from storage.shard import Row, Shard

TOLD = 3
"""Reasons that are told, the most frequent ones first."""


class TooManyFailuresError(PersonaError):
    """So much could not be read that the dataset would not be what was asked for."""

    exit_code = ExitCode.TOO_MANY_FAILURES


def stop_at_faulty_annotations(ingested: StageReport, shards: Sequence[Shard], max_share: float) -> None:
    """Raise if the annotations are at fault about more than `max_share` of a source's photos or boxes.

    Args:
        ingested: what the ingest counted.
        shards: those of the ingest, of all sources.
        max_share: 1.0 lets everything pass.

    Raises:
        TooManyFailuresError: names the most frequent reasons with an example each.
    """
    photos, boxes, records = (_faults(ingested, item) for item in ("photo", "box", "record"))
    del records[Reason.PATH_OUTSIDE_ROOT]  # links in a folder of photos
    num_photos = ingested.counts["photo"].num_in
    num_boxes = ingested.counts["box"].num_in + ingested.counts["record"].num_in  # a record may have been any box
    is_cut = Reason.ANNOTATIONS_CUT in records
    shares = [photos.total() / max(1, num_photos), (boxes + records).total() / max(1, num_boxes), float(is_cut)]
    if max(shares) <= max_share:
        return
    most = (photos + boxes + records).most_common()
    most.sort(key=lambda pair: pair[0] is not Reason.ANNOTATIONS_CUT)  # what the other faults may come of
    examples = _examples([shard for shard in shards if shard.source == ingested.source], [r for r, _ in most[:TOLD]])
    told = "; ".join(f"{reason.sentence} ({num}, such as {examples[reason]})" for reason, num in most[:TOLD])
    raise TooManyFailuresError(
        f"source {ingested.source}: the annotations are at fault about {photos.total()} of {num_photos} photos and "
        f"{(boxes + records).total()} of {num_boxes} boxes, and run.max_faulty_share is {max_share:g}: {told}. "
        "Mend them and run again, or raise the limit"
    )


def _faults(ingested: StageReport, item: Item) -> Counter[Reason]:
    counts = ingested.counts[item]
    lost = {**counts.rejected, **counts.failed}
    return Counter({reason: num for reason, num in lost.items() if reason.is_fault_of_annotations})


def _examples(shards: Sequence[Shard], reasons: Sequence[Reason]) -> dict[Reason, str]:
    """The first item that was lost for each reason, by the path of its photo where one is known."""
    found: dict[Reason, str] = {}
    for shard in shards:
        rows = shard.read("rejects", ["photo_id", "path", "reason", "detail"]).to_pylist()
        paths = {row["photo_id"]: row["path"] for row in rows + shard.read("photos", ["photo_id", "path"]).to_pylist()}
        for row in sorted(rows, key=lambda row: row["path"] is None):
            found.setdefault(Reason(row["reason"]), _shown(row, paths))
        if all(reason in found for reason in reasons):
            break
    return found


def _shown(row: Row, paths: dict[str, str | None]) -> str:
    where = row["path"] or paths.get(row["photo_id"]) or (f"photo {row['photo_id']}" if row["photo_id"] else None)
    return ": ".join(part for part in (where, row["detail"]) if part) or "one without an id"
