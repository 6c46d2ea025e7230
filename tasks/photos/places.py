"""From what a configuration says about a source's photos to the object that gives them."""

from functools import lru_cache
from pathlib import Path

from storage.store import Store
from tasks.photos.local_folder import LocalFolder
from tasks.photos.photos import Photos, Signature


@lru_cache(maxsize=64)
def photos_of(places: Path, store: Store) -> Photos:
    """The photos of a source.

    Args:
        places: its `photos`.
        store: of the run; what has to be remembered about archives is kept there.
    """
    return LocalFolder(places)


def any_changed(photos: Photos, unread: dict[str, Signature | None]) -> bool:
    """Whether any photo of `unread` (path → its signature when it could not be read) is another one now."""
    return any(photos.signature(path) != signature for path, signature in unread.items())
