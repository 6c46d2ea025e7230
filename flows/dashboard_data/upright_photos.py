"""Photos as the App shows them: upright, with their annotated boxes turned like the squares that were cut out."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dashboards.tiles import LoadPhoto
from flows.dashboard_data.report import sources_still_there
from storage.rejection import Rejection
from storage.run_record import RunRecord
from storage.shard import Row
from storage.store import Store
from tasks.images.photo import OpenedPhoto, PhotoConfig, open_photo, upright
from tasks.images.upright import Turn, turn_of
from tasks.photos.places import photos_of


def upright_photos(store: Store, record: RunRecord, photos: Iterable[Row]) -> tuple[Iterator[Row], LoadPhoto]:
    """The rows of `photos` with their boxes in the upright photo, and what loads the pixels of one by source and path.

    A photo of which nobody knows how it is turned stays as it is stored; none of its boxes was cut out.
    """
    config = PhotoConfig.model_validate(record.configuration.get("photo", {}))
    sources = {source.name: source for source in sources_still_there(record)}

    def opened(source: str, path: str) -> OpenedPhoto | Rejection | None:
        return open_photo(photos_of(sources[source].photos, store).read(path), config) if source in sources else None

    turns: dict[tuple[str, str], Turn] = {}

    def rows() -> Iterator[Row]:
        for photo in photos:
            found = opened(photo["source"], photo["path"]) if photo["path"] else None
            if isinstance(found, OpenedPhoto):
                header = found.header
                turn = turn_of(_as_listed(photo), header, sources[photo["source"]].exif_orientation)
                if isinstance(turn, Turn) and turn.orientation != 1:
                    turns[photo["source"], photo["path"]] = turn
                    stored = header.width_px, header.height_px
                    photo = {**photo, "size": turn.size_px(stored), "boxes": turn.boxes(photo["boxes"], stored)}
            yield photo

    def load(source: str, path: str) -> np.ndarray | None:
        found = opened(source, path)
        pixels = found.pixels(apply_exif=False) if isinstance(found, OpenedPhoto) else None
        if not isinstance(pixels, np.ndarray):
            return None
        return upright(pixels, turns.get((source, path), Turn()).orientation)

    return rows(), load


def _as_listed(photo: Row) -> dict[str, Any]:
    """`photo` with the columns that tell how it is turned, also where it was lost before anything was known of it."""
    return {name: photo.get(name) for name in ("width_px", "height_px", "orientation", "boxes_refer_to")}
