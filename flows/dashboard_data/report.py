"""Make the report of a dataset: read it, ask `calibrate` and the reviews, and hand plain data to the page."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from pydantic import TypeAdapter, ValidationError

from dashboards.report.charts import Cell, Table, YieldCurve
from dashboards.report.data import read_run, read_snapshot
from dashboards.report.models import model_sections
from dashboards.report.report import Published, Reviews, report
from dashboards.tiles import LoadPhoto
from storage.config_file import ConfigError
from storage.rejection import Rejection
from storage.reviews import standing_verdicts
from storage.run_record import RunRecord, list_run_records, read_run_record
from storage.scored_crops import scored_shards, shards_by_metric
from storage.store import Store
from tasks.evaluate import published
from tasks.images.photo import PhotoConfig, load_photo
from tasks.photos.places import photos_of
from tasks.select.calibrate import TOP_SHARE, calibrate
from tasks.select.review_effect import ReviewEffect, review_effect
from tasks.select.verdicts import SelectConfig
from tasks.sources import AnySource
from tasks.sources.base import Source

PUBLISHED = Published(published.TABLE_1, published.PEOPLE_PER_IMAGE, published.PAPER)


def report_of(address: str, name: str | None = None) -> str:
    """The report of a root's dataset, or of a snapshot, as HTML.

    Args:
        address: folder or address of a root or of a snapshot.
        name: of the dataset, where a root holds several.

    Raises:
        ConfigError: nothing was curated there, or several datasets were and none is named.
    """
    store = Store(address)
    if store.exists("manifest.json"):
        return report(read_snapshot(store), PUBLISHED)
    names = list_run_records(store)
    if not names:
        raise ConfigError(f"{address} is neither the root of a run nor a snapshot: give the root that was curated")
    if name is None and len(names) > 1:
        raise ConfigError(f"{address} holds {', '.join(names)}: name one of them with --name")
    if name is not None and name not in names:
        raise ConfigError(f"{address} holds no dataset {name!r}, only {', '.join(names)}")
    return report_of_run(store, name or names[0])


def report_of_run(store: Store, name: str) -> str:
    """The report of the dataset `name` below a root, as far as its last run came."""
    record = read_run_record(store, name)
    data = read_run(store, record, photo_loader_of(store, record))
    selection = record.stages(store).get("select", [])
    effect = review_effect(selection) if selection else None
    return report(
        data,
        PUBLISHED,
        curves=_yields(store, record) if selection and record.configuration else (),
        reviews=None if effect is None else _reviews(effect),
        more=model_sections(store, {name: about.rows for name, about in published.PUBLISHED.items()}, published.PAPER),
    )


def photo_loader_of(store: Store, record: RunRecord) -> LoadPhoto:
    """Opens the photos of a run, as far as its sources are where they were."""
    photo = PhotoConfig.model_validate(record.configuration.get("photo", {}))
    return photo_loader(store, sources_still_there(record), photo)


def sources_still_there(record: RunRecord) -> list[Source]:
    """The sources of the run whose photos and annotations are where they were; a root may have moved without them."""
    found: list[Source] = []
    for source in (record.settings or record.configuration).get("sources", []):
        with suppress(ValidationError):
            found.append(TypeAdapter(AnySource).validate_python(source))
    return found


def photo_loader(store: Store, sources: Sequence[Source], config: PhotoConfig) -> LoadPhoto:
    """Opens the photos that a run speaks of, as the run opened them."""
    named = {source.name: source for source in sources}

    def load(source_name: str, path: str) -> np.ndarray | None:
        source = named.get(source_name)
        if source is None:
            return None
        pixels = load_photo(photos_of(source.photos, store).read(path), config, source.exif_orientation == "apply")
        return None if isinstance(pixels, Rejection) else pixels

    return load


def _yields(store: Store, record: RunRecord) -> list[YieldCurve]:
    """What `calibrate` finds, all sources together."""
    config = SelectConfig.model_validate(record.configuration["select"])
    stages = record.stages(store)
    scored, selection = scored_shards(stages), stages["select"][0]
    directions = {
        row["metric"]: row["lower_is_better"]
        for row in selection.read("statistics").to_pylist()
        if row["metric"] in shards_by_metric(stages)
    }
    found = calibrate(scored, directions, config, reviews=standing_verdicts(store))
    num_kept = sum(found.configured.values())
    configured = {TOP_SHARE: config.top_share, **config.limits}
    return [
        YieldCurve(
            setting,
            tuple(y.value for y in found.yields if y.setting == setting),
            tuple(sum(y.alone.values()) for y in found.yields if y.setting == setting),
            tuple(sum(y.combined.values()) for y in found.yields if y.setting == setting),
            configured.get(setting),
            num_kept if setting in configured else None,
        )
        for setting in dict.fromkeys(y.setting for y in found.yields)
    ]


def _reviews(effect: ReviewEffect) -> Reviews:
    sentences = (
        f"People looked at {effect.num_keep + effect.num_drop:,} crops and changed {effect.num_changed:,} verdicts.",
        f"They said keep to {effect.num_keep:,} and drop to {effect.num_drop:,}: {effect.num_kept_by_people:,} crops"
        f" are in that a limit had turned away, {effect.num_dropped_by_people:,} are out that were within all limits.",
        f"{effect.num_keep_not_obeyed:,} times keep was not obeyed: licence and near-duplicates stand above it.",
    )
    rows: list[tuple[Cell, ...]] = [
        (x.metric, x.limit, x.num_agreeing, x.best_limit, x.num_agreeing_best, x.num_reviewed) for x in effect.limits
    ]
    heading = ("metric", "limit", "agrees with", "best limit", "would agree with", "reviewed")
    return Reviews(sentences, Table(heading, rows))
