"""What `persona browse` shows, brought together: crops, photos, and the validation crops beside their restorations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from dashboards.fiftyone.app import FiftyOne, open_fiftyone
from dashboards.fiftyone.crop_records import Browsed, CropFile, browsed_run, browsed_snapshot
from dashboards.fiftyone.crops_dataset import update_crops
from dashboards.fiftyone.embeddings_view import show_embeddings
from dashboards.fiftyone.media_cache import cache_folder, crop_pixels, crop_preview, write_crop_previews, write_preview
from dashboards.fiftyone.photo_records import photo_shards
from dashboards.fiftyone.photos_dataset import update_photos
from dashboards.fiftyone.restored_dataset import HQ, LQ, Slices, update_restored
from flows.dashboard_data.upright_photos import upright_photos
from flows.execution.progress import progress_bar
from storage.config_file import ConfigError
from storage.digest import digest, sha256_of_file
from storage.registry import Registry
from storage.reviews import latest_reviews
from storage.run_record import RunRecord, list_run_records, read_run_record
from storage.shard import Row
from storage.snapshot import MANIFEST, published_at
from storage.store import Store

console = Console(stderr=True)
EMBEDDED_AT_A_TIME = 16

Restore = Callable[[list[np.ndarray]], list[np.ndarray]]
"""LQ pictures → restored pictures, uint8 BGR."""


@dataclass(frozen=True)
class Checkpoint:
    """A model whose restorations are shown."""

    name: str
    folder: Path


def build(place: str, limit: int, checkpoint: str | None) -> tuple[Path, list[str]]:
    """Build or update what the App shows of a root or a snapshot.

    Args:
        place: a root that was curated, or a snapshot.
        limit: how many crops of a dataset are shown at most.
        checkpoint: a model folder, or a model of the root's registry; None shows no restoration.

    Returns:
        The folder of previews and of FiftyOne's own files, and the names of the datasets of crops.
    """
    store = Store(place.rstrip("/"))
    folder = cache_folder(store.full(""))
    if store.exists(MANIFEST):
        snapshot = published_at(store.root)
        store = snapshot.store
        found: list[tuple[Browsed, RunRecord | None]] = [(browsed_snapshot(snapshot), None)]
    else:
        records = [read_run_record(store, name) for name in list_run_records(store)]
        if not records:
            raise ConfigError(f"{place} is neither a snapshot nor a root: give one that `persona curate` filled")
        found = [(browsed_run(store, run), run) for run in records]
    model = _checkpoint(store, checkpoint) if checkpoint else None
    fo = open_fiftyone(folder)
    for browsed, run in found:
        _show(fo, store, browsed, run, limit, model, folder)
    return folder, [f"{browsed.name}-crops" for browsed, _ in found]


def _checkpoint(store: Store, reference: str) -> Checkpoint:
    if Path(reference).is_dir():
        return Checkpoint(Path(reference).resolve().name, Path(reference))
    registry = Registry(store)
    return Checkpoint(" ".join(registry.parse(reference)), registry.resolve(reference))


def _show(
    fo: FiftyOne,
    store: Store,
    browsed: Browsed,
    run: RunRecord | None,
    limit: int,
    model: Checkpoint | None,
    folder: Path,
) -> None:
    shown = browsed.sample(limit)
    with progress_bar(console, "previews", len(shown)) as advance:
        for file in browsed.files:
            write_crop_previews(folder, file, shown, advance)
    with progress_bar(console, "crops", len(shown)) as advance:
        update_crops(fo, browsed, shown, latest_reviews(store), folder, advance)
    if model is not None:
        _show_embeddings(fo, browsed, shown, model)
    if run is not None:
        _show_photos(fo, store, browsed, run, limit, shown, folder)
    if any("val" in file.facts["split"].to_pylist() for file in browsed.files):
        with progress_bar(console, "val", None) as advance:
            update_restored(fo, browsed, _val_crops(browsed, shown, model, folder), advance)


def _show_embeddings(fo: FiftyOne, browsed: Browsed, shown: frozenset[str], model: Checkpoint) -> None:
    """Lay the crops out by what the model's image encoder sees in them, if it knows pictures."""
    from model.network.embed import picture_embedder

    embed = picture_embedder(model.folder)
    if embed is None or len(shown) < 2:
        console.print(f"no embeddings view: the image encoder of {model.name} has no weights of its own")
        return
    embeddings: dict[str, np.ndarray] = {}
    with progress_bar(console, "embeddings", len(shown)) as advance:
        for file in browsed.files:
            crops_of_file = crop_pixels(file, set(shown.intersection(file.facts["crop_id"].to_pylist())))
            while crops := list(islice(crops_of_file, EMBEDDED_AT_A_TIME)):
                vectors = embed([pixels for _, pixels in crops])
                embeddings |= {crop_id: vector for (crop_id, _), vector in zip(crops, vectors, strict=True)}
                advance(len(crops))
    show_embeddings(fo, f"{browsed.name}-crops", embeddings)


def _show_photos(
    fo: FiftyOne, store: Store, browsed: Browsed, run: RunRecord, limit: int, shown: frozenset[str], folder: Path
) -> None:
    shards = photo_shards(store, run)
    share = -(-limit // len(shards))
    photos, load = upright_photos(store, run, (photo for shard in shards for photo in shard.photos(shown, share)))
    with progress_bar(console, "photos", None) as advance:
        update_photos(fo, browsed, photos, load, folder, advance)


def _val_crops(
    browsed: Browsed, shown: frozenset[str], model: Checkpoint | None, folder: Path
) -> Iterator[tuple[Row, Slices]]:
    """Record and pictures of every validation crop that is shown: LQ as in PERSONA-Val, the restored one, HQ."""
    from model.data.degradation import DegradationConfig, degrade, draw_recipe

    config, seed = DegradationConfig(), 0
    lq_folder = folder / "lq" / digest(config, seed)
    restored_folder = folder / "restored" / sha256_of_file(model.folder / "model.json")[:12] if model else None
    restore = _restorer(model) if model else None
    for file in browsed.files:
        records = [record for record in file.records(shown) if record["split"] == "val"]
        missing = {
            record["crop_id"]
            for record in records
            for at in (lq_folder, restored_folder)
            if at is not None and not (at / f"{record['crop_id']}.jpg").exists()
        }
        for crop_id, hq in crop_pixels(file, missing) if missing else ():
            lq = degrade(hq, draw_recipe(crop_id, 0, seed, config))
            write_preview(lq_folder / f"{crop_id}.jpg", lq)
            if restore is not None and restored_folder is not None:
                write_preview(restored_folder / f"{crop_id}.jpg", restore([lq])[0])
        for record in records:
            yield record, _slices(file, record["crop_id"], folder, lq_folder, restored_folder, model)


def _slices(
    file: CropFile, crop_id: str, folder: Path, lq: Path, restored: Path | None, model: Checkpoint | None
) -> Slices:
    between = {model.name: restored / f"{crop_id}.jpg"} if model and restored else {}
    return {LQ: lq / f"{crop_id}.jpg", **between, HQ: crop_preview(folder, file, crop_id)}


def _restorer(model: Checkpoint) -> Restore:
    from model.restoration.restore import Restorer

    return Restorer.load(model.folder).restore


def address_of(port: int, dataset: str) -> str:
    """Where the App shows a dataset, to whoever has the token."""
    from dashboards.fiftyone.locked_app import app_token

    return f"http://127.0.0.1:{port}/datasets/{dataset}?token={app_token()}"


def serve(folder: Path, port: int, datasets: list[str]) -> int:
    """Run the App until it is stopped; prints where it is."""
    from dashboards.fiftyone.app import start_app

    server: Any = start_app(folder, port)
    for name in datasets:
        print(f"The App shows {name} at {address_of(port, name)}", flush=True)
    print("Tag crops `keep` or `drop` there, then run `persona review pull`. Ctrl-C stops the App.", flush=True)
    try:
        return int(server.wait())
    finally:
        server.terminate()
        server.wait()
