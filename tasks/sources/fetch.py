"""Photos from a list of addresses: each fetched once, politely, and every try with a row that says what became of it.

A CSV or Parquet file names the addresses; the photos come into one folder, which is then a source's `photos`. What is
there already is not asked for again, what a site refuses for good neither; what was only a hindrance is tried anew by
the next run. No host is asked more often than `per_host_per_s`, and none for what its robots.txt forbids.
"""

import contextlib
import csv
import hashlib
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

import pyarrow.parquet as pq

from storage.errors import InputError
from tasks.images.photo_header import HeaderTooShortError, NotAnImageError, read_header

AGENT = "personaforge"
TRIES = "tries.jsonl"
"""Beside the photos: one row per try, in the order in which they ended."""
FINAL = frozenset({"fetched", "gone", "forbidden_by_robots", "not_an_image", "too_large", "no_address"})
"""Outcomes after which an address is not tried again; the others are the network's or the server's."""
_AT_ONCE = 16


@dataclass(frozen=True)
class FetchConfig:
    """What is fetched, and how politely."""

    addresses: Path
    """CSV with a header, or Parquet."""
    folder: Path
    column: str = "url"
    per_host_per_s: float = 2.0
    max_bytes: int = 50_000_000
    timeout_s: float = 30.0


@dataclass
class _Host:
    """One host's robots.txt, and when it may be asked again."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    robots: RobotFileParser | None = None
    next_s: float = 0.0


class _UnreachableError(Exception):
    """The server or the network cannot answer now; the message says why."""


def fetch(config: FetchConfig, on_progress: Callable[[int], None] = lambda _: None) -> Counter[str]:
    """How many addresses ended how in this run; `already` counts those that needed no try.

    Raises:
        InputError: the list has no such column, or is of another kind.
    """
    config.folder.mkdir(parents=True, exist_ok=True)
    done = _settled(config.folder)
    hosts: dict[str, _Host] = {}
    counts: Counter[str] = Counter()
    running: set[Future[str]] = set()
    with (config.folder / TRIES).open("a", encoding="utf-8") as tries, ThreadPoolExecutor(_AT_ONCE) as pool:
        if not _ends_with_newline(config.folder / TRIES):
            tries.write("\n")  # behind a row that a kill cut
        lock = threading.Lock()

        def one(address: str) -> str:
            row = _try(address, config, hosts.setdefault(urlsplit(address).netloc, _Host()))
            with lock:
                tries.write(json.dumps(row) + "\n")
                tries.flush()
            return str(row["outcome"])

        for address in _addresses(config):
            if _key(address) in done:
                counts["already"] += 1
                on_progress(1)
                continue
            done.add(_key(address))
            running.add(pool.submit(one, address))
            if len(running) >= 2 * _AT_ONCE:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                counts.update(future.result() for future in finished)
                on_progress(len(finished))
        counts.update(future.result() for future in running)
        on_progress(len(running))
    return counts


def _addresses(config: FetchConfig) -> Iterator[str]:
    """The addresses in the order of the list."""
    if config.addresses.suffix == ".parquet":
        table = pq.ParquetFile(config.addresses)
        if config.column not in table.schema_arrow.names:
            names = ", ".join(table.schema_arrow.names)
            raise InputError(f"{config.addresses} has no column {config.column}, only {names}")
        for batch in table.iter_batches(columns=[config.column]):
            yield from (str(value or "") for value in batch[0].to_pylist())
        return
    with config.addresses.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        if config.column not in (rows.fieldnames or ()):
            names = ", ".join(rows.fieldnames or ()) or "none at all"
            raise InputError(f"{config.addresses} has no column {config.column}, only {names}")
        yield from ((row[config.column] or "").strip() for row in rows)


def _settled(folder: Path) -> set[str]:
    """The keys of the addresses that need no further try: refused for good, or fetched and still there."""
    settled: set[str] = set()
    with contextlib.suppress(FileNotFoundError), (folder / TRIES).open(encoding="utf-8") as rows:
        for line in rows:
            try:
                row = json.loads(line)
                outcome, name = row["outcome"], row.get("file")
            except (ValueError, KeyError):  # a kill cut it
                continue
            if outcome in FINAL and (outcome != "fetched" or _size_of(folder / name) == row["bytes"]):
                settled.add(_key(row["url"]))
    return settled


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return file.read() in (b"", b"\n")


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _key(address: str) -> str:
    return hashlib.blake2b(address.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _try(address: str, config: FetchConfig, host: _Host) -> dict[str, Any]:
    """One try as a row: url, outcome and, where there are any, status, file, bytes, sha256 and detail."""
    row: dict[str, Any] = {"url": address}
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        return {**row, "outcome": "no_address"}
    try:
        if not _allowed(address, host, config):
            return {**row, "outcome": "forbidden_by_robots"}
        _wait_for_turn(host, config)
        data, status = _body(address, config)
    except urllib.error.HTTPError as error:
        is_final = 400 <= error.code < 500 and error.code not in (408, 425, 429)
        return {**row, "outcome": "gone" if is_final else "failed", "status": error.code}
    except (OSError, http.client.HTTPException, _UnreachableError, ValueError) as error:
        return {**row, "outcome": "failed", "detail": str(error)[:200]}
    row |= {"status": status, "bytes": len(data)}
    if len(data) > config.max_bytes:
        return {**row, "outcome": "too_large"}
    try:
        header = read_header(data)
    except (NotAnImageError, HeaderTooShortError) as error:
        return {**row, "outcome": "not_an_image", "detail": str(error)[:200]}
    suffix = {"jpeg": "jpg"}.get(header.file_format, header.file_format)
    name = f"{_key(address)}.{suffix}"
    aside = config.folder / f".{name}.part"
    aside.write_bytes(data)
    aside.replace(config.folder / name)
    return {**row, "outcome": "fetched", "file": name, "sha256": hashlib.sha256(data).hexdigest()}


def _body(address: str, config: FetchConfig) -> tuple[bytes, int]:
    """At most one byte more than is allowed."""
    request = urllib.request.Request(address, headers={"User-Agent": AGENT})
    with urllib.request.urlopen(request, timeout=config.timeout_s) as answer:  # only http and https come here
        data = answer.read(config.max_bytes + 1)
        announced = answer.headers.get("Content-Length")
        if announced is not None and int(announced) > len(data) and len(data) <= config.max_bytes:
            raise _UnreachableError(f"{len(data)} of {announced} bytes came")
        return data, answer.status


def _allowed(address: str, host: _Host, config: FetchConfig) -> bool:
    """Whether the host's robots.txt lets this address be fetched; without one, everything is."""
    with host.lock:
        if host.robots is None:
            split = urlsplit(address)
            robots = RobotFileParser()
            try:
                text, _ = _body(f"{split.scheme}://{split.netloc}/robots.txt", config)
                robots.parse(text.decode("utf-8", "replace").splitlines())
            except urllib.error.HTTPError as error:
                if error.code >= 500:
                    raise _UnreachableError(f"robots.txt: {error.code}") from error
                robots.parse([] if error.code not in (401, 403) else ["User-agent: *", "Disallow: /"])
            host.robots = robots
        return host.robots.can_fetch(AGENT, address)


def _wait_for_turn(host: _Host, config: FetchConfig) -> None:
    with host.lock:
        now = time.monotonic()
        turn = max(now, host.next_s)
        host.next_s = turn + 1 / config.per_host_per_s
    time.sleep(max(0.0, turn - now))
