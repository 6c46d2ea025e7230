"""What people said in the App comes back into the data: tags and notes become rows of the table of reviews."""

import getpass
from dataclasses import dataclass

from dashboards.fiftyone.app import open_fiftyone
from dashboards.fiftyone.media_cache import cache_folder
from dashboards.fiftyone.pull_reviews import datasets_of, note_as_pulled, pending_reviews
from storage.config_file import ConfigError
from storage.reviews import Review, add_reviews
from storage.store import Store


@dataclass(frozen=True)
class Pull:
    """What a pull brought."""

    added: list[Review]
    contradictory: list[str]  # ids of crops that carry both tags: nothing is taken from them

    def sentences(self) -> list[str]:
        """The same for people."""
        said = {verdict: sum(review.verdict == verdict for review in self.added) for verdict in ("keep", "drop", None)}
        lines = [
            f"{len(self.added)} new reviews: {said['keep']} keep, {said['drop']} drop, {said[None]} without a verdict."
            if self.added
            else "Nothing new was said in the App."
        ]
        if self.contradictory:
            some = ", ".join(self.contradictory[:5]) + (", …" if len(self.contradictory) > 5 else "")
            lines.append(f"{len(self.contradictory)} crops carry both keep and drop, take one off: {some}.")
        return lines


def pull_reviews(root: str, user: str | None = None) -> Pull:
    """Bring what people said in the App of a root's crops into its table of reviews; pulling twice adds nothing.

    Args:
        root: whose crops they are.
        user: who said it; None is whoever runs this.

    Raises:
        ConfigError: the App shows nothing of this root.
        DatabaseAwayError: MongoDB does not answer.
    """
    store = Store(root.rstrip("/"))
    place = store.full("")
    fo = open_fiftyone(cache_folder(place))
    datasets = datasets_of(fo, place)
    if not datasets:
        raise ConfigError(f"the App shows nothing of {root}: run `persona browse {root}` first")
    added: list[Review] = []
    contradictory: list[str] = []
    for dataset in datasets:
        found = pending_reviews(dataset, user or getpass.getuser())
        added += add_reviews(store, found.reviews)
        # Only now: a pull that is killed before finds the same again.
        note_as_pulled(dataset, found.reviews)
        contradictory += found.contradictory
    return Pull(added, contradictory)
