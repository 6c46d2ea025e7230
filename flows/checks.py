"""What a run needs of this machine: `persona doctor` shows it all, `persona curate` stops at the first thing it lacks.

Nothing heavy is imported and nothing downloaded: a check that takes longer than the seconds of a network's silence
belongs into the run.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from queue import Empty, Queue
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from flows.config import CurateConfig
from flows.execution.processes import num_gpus
from flows.server import check_server, server_address
from model.network.weights import WeightsUnavailableError, answers
from storage.code_version import DISTRIBUTION
from storage.errors import DiskOrNetworkError, InputError, PersonaError
from storage.known_weights import remembered
from storage.run_record import list_run_records, read_run_record
from storage.shard import Shard
from storage.store import Store
from tasks.crop.calibrate import calibrate_crop
from tasks.detect.person_detector import local_weights, weights_target
from tasks.metrics.iqa import weights_file

BYTES_PER_CROP = 450_000
"""Of a PNG of 512x512 px, measured on COCO's people; a crop that is chosen lies on the disk twice."""
MIN_FREE_BYTES = 500_000_000
"""Below this no run is begun: annotations are joined on the disk, and half-written shards take room."""
BUCKET_PATIENCE_S = 20.0
"""For the first answer of a bucket."""

_MODULES = {"detect": "ultralytics", "train": "diffusers", "browse": "fiftyone", "cluster": "ray"}
"""Extra → a module that only it brings."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    remedy: str = ""  # empty where nothing lacks
    needed: bool = False  # without it the run would fail
    error: type[PersonaError] = InputError  # how that is told

    def sentence(self) -> str:
        """What lacks, and the remedy."""
        return f"{self.what}: {self.found}; {self.remedy}"


def preflight(config: CurateConfig) -> None:
    """Make sure that a run has what it needs: extras, weights, a root to write to, room, and its server.

    Raises:
        PersonaError: the first thing that it lacks, in one sentence, with the exit code of its kind.
    """
    require(needs(config))
    check_server()


def require(findings: Iterable[Finding]) -> None:
    """Raise for the first thing that is needed and lacks, in the words of its finding."""
    for finding in findings:
        if finding.remedy and finding.needed:
            raise finding.error(finding.sentence())


def needs(config: CurateConfig) -> Iterator[Finding]:
    """What a run with this configuration needs, and what of it is here."""
    detects = any(source.boxes_from == "detector" for source in config.sources)
    root = writable(config.root)
    yield root
    used = ["detect"] * detects + ["cluster"] * (config.run.cluster is not None)
    yield from (extra(name, needed=True) for name in used)
    known = set() if root.remedy else _weights_known(config)
    if detects:
        yield detector_weights(config.detect.weights)
    yield from (metric_weights(name) for name in config.score.metrics if name not in known)
    if not root.remedy:
        yield room(config)


def machine(config: CurateConfig | None) -> Iterator[Finding]:
    """Everything that `persona doctor` looks at, needed or not."""
    yield python()
    yield packages()
    used = {finding.what for finding in needs(config)} if config else set()
    yield from (extra(name) for name in _MODULES if f"extra {name}" not in used)
    if config:
        yield from needs(config)
    else:
        yield detector_weights("yolo11m.pt", needed=False)
        yield from (metric_weights(name, needed=False) for name in ("musiq", "maniqa-pipal", "niqe"))
        yield writable(".")
        yield Finding("disk", f"{_gb(shutil.disk_usage('.').free)} free here")
    yield gpu()
    yield prefect_api()
    yield database()
    yield mongodb()


def python() -> Finding:
    """The interpreter."""
    number = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    return Finding("Python", f"{number}, {sys.prefix}", "install Python 3.11 or newer" if old else "", needed=True)


def packages() -> Finding:
    """What the base needs, held against what is installed."""
    needed = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    base = [requirement for requirement in needed if not (requirement.marker and "extra" in str(requirement.marker))]
    missing, other = [], []
    for requirement in base:
        try:
            if not requirement.specifier.contains(version(requirement.name), prereleases=True):
                other.append(f"{requirement.name} {version(requirement.name)} (tried: {requirement.specifier})")
        except PackageNotFoundError:
            missing.append(requirement.name)
    if missing:
        return Finding("packages", f"{', '.join(missing)} not installed", "run `make install`", needed=True)
    if other:
        return Finding("packages", f"not the versions that were tried: {', '.join(other)}", "run `make install`")
    return Finding("packages", f"{DISTRIBUTION} {version(DISTRIBUTION)} and the {len(base)} that it needs")


def extra(name: str, needed: bool = False) -> Finding:
    """Whether the packages of an extra are here."""
    there = importlib.util.find_spec(_MODULES[name]) is not None
    remedy = f"run `make install EXTRAS={name}` in the project's folder"
    found = f"{_MODULES[name]} {version(_MODULES[name])}" if there else f"{_MODULES[name]} is not installed"
    return Finding(f"extra {name}", found, "" if there else remedy, needed)


def detector_weights(weights: str, needed: bool = True) -> Finding:
    """Where the detector's weights are, or would come from."""
    what = f"detector weights {weights}"
    if path := local_weights(weights):
        return Finding(what, str(path))
    return _to_download(what, weights_target(weights), "https://github.com", "set detect.weights to a file", needed)


def metric_weights(name: str, needed: bool = True) -> Finding:
    """Where a metric's weights are, or would come from, as far as its table tells."""
    what = f"weights of {name}"
    path = weights_file(name)
    if path is None:
        return Finding(what, "no file of its own")
    if path.is_file():
        return Finding(what, str(path))
    return _to_download(what, path, "https://huggingface.co", f"take {name} out of score.metrics", needed)


def _to_download(what: str, target: Path, host: str, otherwise: str, needed: bool) -> Finding:
    if _answers(host):
        return Finding(what, f"not here yet, downloaded from {host} when a run begins, to {target}")
    remedy = f"connect this machine once, put the file at {target}, or {otherwise}"
    return Finding(what, f"not here, and {host} does not answer", remedy, needed, WeightsUnavailableError)


def _weights_known(config: CurateConfig) -> set[str]:
    """The networks that were loaded for this root before: a run does not load them again to check them."""
    return set(remembered(Store(config.root)))


def writable(root: str) -> Finding:
    """Whether files can be written below a root; for a bucket, whether it answers."""
    if "://" in root:
        return _reachable(root)
    folder = Store(root).local()
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return Finding("root", f"{folder}, writable")
    except OSError as error:
        remedy = "choose another root, or let this user write there"
        return Finding("root", f"{nearest} cannot be written ({error.strerror})", remedy, True, DiskOrNetworkError)


def _reachable(root: str) -> Finding:
    """A bucket is asked for one file; its client would try again for minutes, so nobody waits for that thread."""
    answer: Queue[str] = Queue()

    def ask() -> None:
        try:
            Store(root).exists("weights.json")
            answer.put("")
        except (OSError, ValueError) as error:  # Arrow's words for credentials, names and schemes
            answer.put(" ".join(str(error).split()))

    threading.Thread(target=ask, daemon=True).start()
    try:
        problem = answer.get(timeout=BUCKET_PATIENCE_S)
    except Empty:
        problem = f"no answer within {BUCKET_PATIENCE_S:.0f} s"
    if problem:
        remedy = "look at the address, the bucket's credentials (such as AWS_ACCESS_KEY_ID) and the network"
        return Finding("root", f"{root} ({problem})", remedy, True, DiskOrNetworkError)
    return Finding("root", f"{root}, reachable")


def room(config: CurateConfig) -> Finding:
    """Free space below the root, held against what the crops will take, where a run has counted the boxes already."""
    store = Store(config.root)
    if not store.is_local:
        return Finding("disk", f"{_gb(shutil.disk_usage('.').free)} free here; the root is in a bucket")
    free = shutil.disk_usage(_existing(store.local())).free
    crops = _crops_to_cut(store, config)
    wanted = max(MIN_FREE_BYTES, round(crops * BYTES_PER_CROP * (1 + config.select.top_share)))
    forecast = f"about {crops:,} crops take {_gb(wanted)}" if crops else "the crops are not counted yet"
    if free < wanted:
        remedy = f"free {_gb(wanted - free)} more, or choose a root on another disk"
        return Finding("disk", f"{_gb(free)} free, {forecast}", remedy, True, DiskOrNetworkError)
    return Finding("disk", f"{_gb(free)} free; {forecast}")


def _crops_to_cut(store: Store, config: CurateConfig) -> int:
    """How many crops the boxes of the last run give under these limits; 0 where none was read or all are cut."""
    if config.name not in list_run_records(store):
        return 0
    shards = read_run_record(store, config.name).shards
    if shards.get("crop"):
        return 0
    return calibrate_crop([Shard.named(store, name) for name in boxed(shards)], [], config.crop).configured


def boxed(shards: dict[str, list[str]]) -> list[str]:
    """Of a run's shards those with photos and boxes: detect's where there are any of that source, else ingest's."""
    detected = shards.get("detect", [])
    sources = {name.split("/")[1] for name in detected}
    return detected + [name for name in shards.get("ingest", []) if name.split("/")[1] not in sources]


def gpu() -> Finding:
    """The GPUs that a run would use."""
    num = num_gpus()
    return Finding("GPU", f"{num} of NVIDIA" if num else "none: everything but a full-size training runs on the CPU")


def prefect_api() -> Finding:
    """The server that runs report to."""
    address = server_address()
    if address is None:
        return Finding("Prefect API", "none named, so runs report to nobody (PREFECT_API_URL)")
    try:
        check_server()
    except PersonaError as error:
        return Finding("Prefect API", str(error), "see there", True, DiskOrNetworkError)
    return Finding("Prefect API", f"{address} answers")


def database() -> Finding:
    """Where a Prefect server that is started here keeps its runs."""
    address = os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL") or os.environ.get(
        "PREFECT_SERVER_DATABASE_CONNECTION_URL"
    )
    if not address:
        return Finding("database", "none named: a server started here would use SQLite, enough for one machine")
    parts = urlsplit(address)
    place = f"{parts.scheme.partition('+')[0]} at {parts.hostname or 'this machine'}{parts.path}"  # never the password
    if parts.hostname and not _answers(f"http://{parts.hostname}:{parts.port or 5432}"):
        return Finding(
            "database", f"{place} does not answer", "start it, or correct the address of the server's database"
        )
    return Finding("database", place)


def mongodb() -> Finding:
    """What FiftyOne keeps its samples in."""
    address = os.environ.get("FIFTYONE_DATABASE_URI")
    if not address:
        return Finding("MongoDB", "none named: FiftyOne starts its own (FIFTYONE_DATABASE_URI)")
    parts = urlsplit(address)
    place = f"{parts.hostname}:{parts.port or 27017}"
    if not _answers(f"http://{place}"):
        return Finding("MongoDB", f"{place} does not answer", "start it; only `persona browse` needs it")
    return Finding("MongoDB", place)


@cache
def _answers(address: str) -> bool:
    """As `answers`, asked once: silence takes seconds."""
    return answers(address)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.1f} GB"


def lacking(findings: Sequence[Finding]) -> list[Finding]:
    """Those without which a run would fail."""
    return [finding for finding in findings if finding.remedy and finding.needed]
