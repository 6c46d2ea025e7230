"""What follows a snapshot: contact sheet, report and an event; where they lie, and whether all of it is done."""

from storage.run_record import read_aftermath
from storage.snapshot import Snapshot
from storage.store import Store


def contact_sheet_path(name: str) -> str:
    """Where the contact sheet of a dataset lies below its root."""
    return f"contact-sheets/{name}.png"


def report_path(name: str) -> str:
    """Where the report on a dataset lies below its root."""
    return f"reports/{name}.html"


def is_complete(store: Store, name: str, snapshot: Snapshot) -> bool:
    """Whether everything that follows a snapshot of the dataset `name` followed this one.

    Roots of earlier versions say nothing of it: there the pictures, which came last, stand for everything.
    """
    aftermath = read_aftermath(store, name)
    pictures = store.exists(contact_sheet_path(name)) and store.exists(report_path(name))
    return pictures and (aftermath is None or aftermath.snapshot == snapshot.id)
