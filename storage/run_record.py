"""The record of a run as it lies under its root: what it was asked for, how far it came, its shards."""

from typing import Any

from pydantic import ValidationError

from storage.errors import DamagedFileError, InputError
from storage.frozen import Frozen
from storage.report import StageReport
from storage.sealed import read_record, write_record
from storage.shard import Shard
from storage.store import Store

FOLDER = "books"


class RunRecord(Frozen):
    """What is known of a dataset's last run, finished or not."""

    name: str
    """Of the dataset."""
    snapshot: str | None
    """Path below the root of the snapshot that the run ended with; empty while it goes on."""
    configuration: dict[str, Any] = {}
    """What decides the result, as the snapshot's manifest says it."""
    settings: dict[str, Any] = {}
    """The whole configuration, with where the photos lie; empty in records of earlier versions, whose `configuration`
    says that too."""
    reports: tuple[StageReport, ...]
    """Per stage and source, in the order of the stages."""
    shards: dict[str, list[str]] = {}
    """Stage → names of its shards."""

    def stages(self, store: Store) -> dict[str, list[Shard]]:
        """Stage → the shards of this run."""
        return {stage: [Shard.named(store, name) for name in names] for stage, names in self.shards.items()}


def run_record_path(name: str) -> str:
    """Where the record of the dataset `name` is kept under its root."""
    return f"{FOLDER}/{name}.json"


def list_run_records(store: Store) -> list[str]:
    """Names of the datasets that were curated under a root."""
    return [path.removeprefix(f"{FOLDER}/").removesuffix(".json") for path in store.files(FOLDER)]


def read_run_record(store: Store, name: str) -> RunRecord:
    """The record of the dataset `name`.

    Raises:
        InputError: there is none.
        DamagedFileError: it is not as it was written, or of another version.
    """
    path, remedy = run_record_path(name), "run `persona curate` again, which writes it anew"
    if not store.exists(path):
        raise InputError(f"{path} is missing below {store.root}: {name} was never curated there")
    content = read_record(store, path, remedy)
    try:
        return RunRecord.model_validate(content)
    except ValidationError as error:
        raise DamagedFileError(f"{path} below {store.root} cannot be read by this version: {remedy}") from error


def write_run_record(store: Store, record: RunRecord) -> None:
    """Keep the record of a run in place of the one before."""
    write_record(store, run_record_path(record.name), record.model_dump(mode="json"))


class Aftermath(Frozen):
    """What was left for people and told to others once a dataset was published; written when all of it is there."""

    snapshot: str
    """Id of the snapshot that contact sheet and report speak of."""
    told: tuple[str, ...]
    """Ids of the snapshots of which the event was sent that starts a retraining."""


def read_aftermath(store: Store, name: str) -> Aftermath | None:
    """What followed the last run of the dataset `name`; None where that is not known, and may as well be done again."""
    path = _aftermath_path(name)
    if not store.exists(path):
        return None
    try:
        return Aftermath.model_validate(read_record(store, path, ""))
    except (DamagedFileError, ValidationError):
        return None


def write_aftermath(store: Store, name: str, aftermath: Aftermath) -> None:
    """Note that contact sheet, report and event are done."""
    write_record(store, _aftermath_path(name), aftermath.model_dump(mode="json"))


def _aftermath_path(name: str) -> str:
    return f"reports/{name}.json"
