"""Fetching a list of addresses from a real server of this machine that behaves as servers do."""

import csv
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InputError
from storage.store import Store
from tasks.photos.photos import Listed
from tasks.photos.places import photos_of
from tasks.sources.fetch import TRIES, FetchConfig, fetch


@pytest.fixture
def server(shared_data, monkeypatch):
    """Paths that answer rightly, wrongly, not yet, or not at all; counts who asked for what."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    jpeg = next((shared_data / "coco_mini/val2017").glob("*.jpg")).read_bytes()
    asked = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked[self.path] += 1
            status, body, announced = 200, jpeg, None
            if self.path == "/robots.txt":
                body = b"User-agent: *\nDisallow: /private/\n"
            elif self.path == "/page.jpg":
                body = b"<html>gone</html>"
            elif self.path == "/none.jpg":
                status, body = 404, b""
            elif self.path == "/busy.jpg" and asked[self.path] == 1:
                status, body = 503, b""
            elif self.path == "/cut.jpg" and asked[self.path] == 1:
                body, announced = jpeg[:1000], len(jpeg)
            elif self.path == "/large.jpg":
                body = jpeg + bytes(2_000_000)
            self.send_response(status)
            self.send_header("Content-Length", str(announced or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}", asked, jpeg
    listening.shutdown()


def test_every_try_has_a_row_and_only_hindrances_are_tried_again(server, tmp_path):
    base, asked, jpeg = server
    names = ["a.jpg", "b.jpg", "page.jpg", "none.jpg", "busy.jpg", "cut.jpg", "large.jpg", "private/c.jpg", "a.jpg"]
    addresses = [*(f"{base}/{name}" for name in names), "ftp://example.org/a.jpg", ""]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "link"], *([i, a] for i, a in enumerate(addresses))])
    config = FetchConfig(tmp_path / "list.csv", tmp_path / "photos", "link", per_host_per_s=1000, max_bytes=1_000_000)
    first = fetch(config)
    assert first == {
        "fetched": 2, "not_an_image": 1, "gone": 1, "failed": 2, "too_large": 1, "forbidden_by_robots": 1,
        "no_address": 2, "already": 1,
    }  # fmt: skip
    assert first.total() == len(addresses)
    with (tmp_path / "photos" / TRIES).open("a") as tries:
        tries.write('{"url": "cut by a ki')
    again = fetch(config)
    assert again == {"fetched": 2, "already": 9}
    assert asked["/private/c.jpg"] == 0
    assert max(asked[f"/{name}"] for name in ("a.jpg", "b.jpg", "page.jpg", "none.jpg", "large.jpg")) == 1
    files = [e for e in photos_of((str(tmp_path / "photos"),), Store(str(tmp_path))).files() if isinstance(e, Listed)]
    photos = [tmp_path / "photos" / e.path for e in files if e.path.endswith(".jpg")]
    assert [photo.read_bytes() == jpeg for photo in photos] == [True] * 4
    photos[0].unlink()  # somebody deleted it: it is fetched again
    assert fetch(config) == {"fetched": 1, "already": 10}
    rows = [json.loads(line) for line in (tmp_path / "photos" / TRIES).read_text().splitlines() if line.endswith("}")]
    assert Counter(row["outcome"] for row in rows)["failed"] == 2


def test_parquet_lists_and_a_column_that_is_not_there(server, tmp_path):
    base, _, _ = server
    pq.write_table(pa.table({"url": [f"{base}/a.jpg", None]}), tmp_path / "list.parquet")
    config = FetchConfig(tmp_path / "list.parquet", tmp_path / "photos", per_host_per_s=1000)
    assert fetch(config) == {"fetched": 1, "no_address": 1}
    with pytest.raises(InputError, match="no column link, only url"):
        fetch(FetchConfig(tmp_path / "list.parquet", tmp_path / "photos", "link"))
