"""The validation crops in the App, LQ, restored and HQ side by side: one group of pictures per crop."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dashboards.fiftyone.app import FiftyOne
from dashboards.fiftyone.crop_records import Browsed
from dashboards.fiftyone.crops_dataset import TECHNICAL, arrange
from dashboards.fiftyone.media_cache import OnProgress
from dashboards.fiftyone.sample_documents import (
    Document,
    object_id,
    open_dataset,
    picture,
    remove_samples,
    write_samples,
)
from dashboards.fiftyone.saved_views import BLUE, GREEN, RED
from storage.shard import Row

LQ, HQ = "LQ", "HQ"
SIDE_BY_SIDE = "Side by side"

Slices = Mapping[str, Path]
"""Name of a slice (LQ, a model, HQ) → its preview."""


def update_restored(
    fo: FiftyOne,
    browsed: Browsed,
    crops: Iterable[tuple[Row, Slices]],
    on_progress: OnProgress,
) -> Any:  # noqa: ANN401 - a FiftyOne dataset
    """Build or update the grouped dataset `NAME-val`; slices of other models that are there already stay.

    Args:
        fo: the module.
        browsed: whose validation crops these are.
        crops: record of each and its pictures.
        on_progress: told how many more pictures were written.
    """
    fields = {
        "crop_id": {"ftype": fo.StringField},
        "slice": {"ftype": fo.StringField, "description": "LQ, HQ or the model that restored"},
        "source": {"ftype": fo.StringField},
        "position": {"ftype": fo.IntField, "description": "From left to right"},
        "score": {"ftype": fo.FloatField, "description": "Eq. 1 of the paper, of HQ"},
    }
    dataset = open_dataset(fo, f"{browsed.name}-val", browsed.root, fields)
    if dataset.media_type != "group":
        dataset.add_group_field("group", default=HQ)
    written: set[Any] = set()
    names: set[str] = set()

    def documents() -> Iterator[Document]:
        for record, slices in crops:
            for name, path in slices.items():
                document = _document(browsed, record, name, path)
                names.add(name)
                written.add(document["group"]["_id"])
                yield document

    write_samples(dataset, documents(), on_progress)
    stale = dataset._sample_collection.find({"group._id": {"$nin": list(written)}}, ["_id"])
    remove_samples(dataset, (sample["_id"] for sample in stale))
    for name in sorted(names):
        if name not in dataset.group_slices:
            dataset.add_group_slice(name, "image")
    _arrange(fo, dataset)
    return dataset


def _document(browsed: Browsed, record: Row, name: str, path: Path) -> Document:
    crop_id = record["crop_id"]
    return {
        **picture(f"{crop_id}/{name}", str(path), browsed.side_px, browsed.side_px),
        "group": {"_id": object_id(crop_id), "_cls": "Group", "name": name},
        "slice": name,
        "position": {LQ: 0, HQ: 2}.get(name, 1),
        **{key: record[key] for key in ("crop_id", "source", "score")},
    }


def _arrange(fo: FiftyOne, dataset: Any) -> None:  # noqa: ANN401
    """All slices in the grid, crop after crop: LQ, restored, HQ."""
    models = sorted(set(dataset.group_slices) - {LQ, HQ})
    side_by_side = dataset.select_group_slices([LQ, *models, HQ], flat=True)
    ordered = side_by_side.sort_by([("crop_id", 1), ("position", 1), ("slice", 1)])
    dataset.save_view(
        SIDE_BY_SIDE, ordered, description="LQ, restored, HQ, crop after crop", color=BLUE, overwrite=True
    )
    groups = {
        "crop": ["slice", "score", "source", "crop_id"],
        "group": ["group", "position"],
        "technical": ["tags", *TECHNICAL],
    }
    colours = {"slice": {LQ: RED, HQ: GREEN, **dict.fromkeys(models, BLUE)}}
    arrange(fo, dataset, groups, closed={"group", "technical"}, shown=["slice"], colours=colours)
