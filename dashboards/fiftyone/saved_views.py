"""Saved views: what a curator wants to see next, one click each."""

from collections.abc import Sequence
from typing import Any

from dashboards.fiftyone.app import FiftyOne
from storage.reasons import Reason
from storage.shard import Row

GREEN, RED, AMBER, BLUE, VIOLET, GREY = "#2da44e", "#cf222e", "#d4a72c", "#0969da", "#8250df", "#6e7781"

BORDERLINE_STD = 0.1
"""A crop whose verdict a shift of a limit by a tenth of a standard deviation would change."""
WORST = 500

DECIDED_BY_A_LIMIT = (None, Reason.METRIC_LIMIT, Reason.BELOW_TOP_SHARE)


def save_crop_views(fo: FiftyOne, crops: Any, statistics: Sequence[Row]) -> None:  # noqa: ANN401
    """The views of the crops: by verdict, by doubt, by metric, by review."""
    field = fo.ViewField
    best_first = [("score", -1), ("crop_id", 1)]
    views = [("Kept", crops.match(field("verdict") == "kept").sort_by(best_first), "The best first", GREEN)]
    views += [
        (
            f"Rejected: {reason.replace('_', ' ')}",
            crops.match(field("reason") == reason).sort_by(best_first),
            f"{Reason(reason).sentence[0].upper()}{Reason(reason).sentence[1:]}",
            RED,
        )
        for reason in sorted(crops.distinct("reason"))
    ]
    close = (field("margin").abs() < BORDERLINE_STD) & field("reason").is_in(DECIDED_BY_A_LIMIT)
    disputed = (field("tags").contains("keep") & (field("own_verdict") != "kept")) | (
        field("tags").contains("drop") & (field("own_verdict") == "kept")
    )
    views += [
        (
            "Borderline",
            crops.match(close).sort_by(field("margin").abs()),
            f"Within {BORDERLINE_STD} standard deviations of the limit that decides, the closest first",
            AMBER,
        ),
        (
            "Near-duplicates side by side",
            crops.match(field("duplicates") > 1).sort_by([("duplicate_group", 1), ("score", -1)]),
            "Group after group, the one that stays first",
            VIOLET,
        ),
        ("Disputed", crops.match(disputed), "A person said the opposite of what the pipeline says", AMBER),
        (
            "Unreviewed",
            crops.match_tags(["keep", "drop"], bool=False).sort_by(best_first),
            "Nobody said keep or drop",
            GREY,
        ),
    ]
    for row in statistics:
        metric, lower = row["metric"], row["lower_is_better"]
        worst = crops.exists(metric).sort_by(metric, reverse=lower).limit(WORST)
        views.append((f"Worst {metric}", worst, f"{'Highest' if lower else 'Lowest'} first", BLUE))
    _save(crops, views)


def save_photo_views(fo: FiftyOne, photos: Any) -> None:  # noqa: ANN401
    """The views of the photos: by what became of them."""
    fates = sorted(photos.distinct("fate"))
    _save(
        photos,
        [
            (
                fate.replace("_", " ").capitalize(),
                photos.match(fo.ViewField("fate") == fate),
                Reason(fate).sentence if fate in set(Reason) else "At least one crop of the photo is chosen",
                GREEN if fate == "kept" else RED,
            )
            for fate in fates
        ],
    )


def _save(dataset: Any, views: Sequence[tuple[str, Any, str, str]]) -> None:  # noqa: ANN401
    """These views and no others, in this order; where people saved some of their own, those stay."""
    names = {name for name, *_ in views}
    ours = set(dataset.info.get("views", []))
    for stale in (ours - names) & set(dataset.list_saved_views()):
        dataset.delete_saved_view(stale)
    for name, view, description, colour in views:
        dataset.save_view(name, view, description=description, color=colour, overwrite=True)
    dataset.info = {**dataset.info, "views": sorted(names)}
    dataset.save()
