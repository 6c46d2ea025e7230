"""What a run lacks is told before it starts; `persona doctor` shows it with its remedy."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from flows import checks
from flows.checks import machine, preflight, require, room, writable
from flows.cli.__main__ import main
from flows.config import CurateConfig
from model.network.weights import WeightsUnavailableError
from storage.errors import DiskOrNetworkError, ExitCode
from storage.store import Store
from tasks.ingest.ingest import ingest_source

PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Nothing listens at the proxy, no cache holds anything."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    checks._answers.cache_clear()


@pytest.fixture
def config_file(shared_data, tmp_path):
    coco = shared_data.resolve() / "coco_mini"
    source = {
        "format": "coco",
        "name": "coco",
        "photos": f"{coco}/val2017",
        "annotations": f"{coco}/annotations/instances_val2017.json",
    }
    path = tmp_path / "c.yaml"
    values = {"name": "mini", "root": f"{tmp_path}/root", "sources": [source], "score": {"metrics": ["piqe"]}}
    path.write_text(json.dumps(values))
    return path


def config_of(path, **values):
    return CurateConfig.model_validate({**json.loads(path.read_text()), **values})


def test_a_detector_without_weights_is_told_before_anything_is_imported_read_or_written(offline, config_file, tmp_path):
    folder = f"[{{format: folder, name: mine, photos: {tmp_path}}}]"
    command = (
        "import sys; from flows.cli.__main__ import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'ultralytics', 'prefect'} & set(sys.modules); sys.exit(code)"
    )
    told = subprocess.run(
        [sys.executable, "-c", command, "curate", str(config_file), "--set", f"sources={folder}"],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env=dict(os.environ),
    )
    assert told.returncode == ExitCode.WEIGHTS_MISSING, told.stderr
    assert told.stderr.startswith("persona: detector weights yolo11m.pt: not here")
    assert told.stderr.count("\n") == 1 and "set detect.weights" in told.stderr
    assert not (tmp_path / "root").exists()


def test_a_metric_without_weights_is_told_unless_the_root_knows_it(offline, config_file):
    config = config_of(config_file, score={"metrics": ["piqe", "musiq"]})
    with pytest.raises(WeightsUnavailableError, match=r"musiq_koniq.*take musiq out of score.metrics"):
        preflight(config)
    preflight(config_of(config_file))


def test_a_root_that_cannot_be_written_or_reached_is_told(tmp_path):
    (tmp_path / "file").touch()
    for root in ("/proc/persona", str(tmp_path / "file/root"), "nowhere://bucket/root"):
        with pytest.raises(DiskOrNetworkError, match="root: "):
            require([writable(root)])
    assert not writable(str(tmp_path / "new/root")).remedy and not (tmp_path / "new").exists()


def test_room_is_held_against_the_crops_that_the_boxes_will_give(config_file, monkeypatch):
    usage = namedtuple("usage", "free")
    config = config_of(config_file, crop={"min_side_px": 20, "max_upscale": 30})
    assert "not counted yet" in room(config).found
    shards = ingest_source(Store(config.root), config.sources[0], 512)
    record = {"name": "mini", "snapshot": None, "reports": [], "shards": {"ingest": [shard.name for shard in shards]}}
    Store(config.root).write_text("books/mini.json", json.dumps(record))
    assert "crops take 0.5 GB" in room(config).found
    monkeypatch.setattr(checks, "BYTES_PER_CROP", 1e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10e9))
    with pytest.raises(DiskOrNetworkError, match=r"10.0 GB free, about \d+ crops take .* GB; free"):
        require([room(config)])


def test_doctor_is_one_screen_and_ends_with_1_where_something_needed_is_missing(offline, config_file, capsys):
    assert main(["doctor", str(config_file)]) == 0
    shown = capsys.readouterr().out
    for what in ("Python", "packages", "extra detect", "GPU", "Prefect API", "database", "MongoDB", "root", "disk"):
        assert what in shown
    assert shown.count("\n") < 40
    assert main(["doctor", str(config_file), "--set", "score.metrics=[musiq]"]) == 1
    shown = capsys.readouterr().out
    assert "needed  weights of musiq" in shown and "→ connect this machine once" in shown


def test_doctor_never_shows_a_password(monkeypatch):
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://prefect:secret@127.0.0.1:9/prefect")
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", "mongodb://user:secret@127.0.0.1:9")
    found = {finding.what: finding for finding in machine(None)}
    assert "does not answer" in found["database"].found and "does not answer" in found["MongoDB"].found
    assert not any("secret" in finding.sentence() for finding in found.values())


def test_a_run_that_fails_at_once_does_not_show_the_funnel_of_the_run_before(config_file, capsys, monkeypatch):
    store = Store(config_of(config_file).root)
    counts = {"photo": {"num_in": 1, "num_kept": 1}}
    reports = [{"stage": "ingest", "source": "coco", "counts": counts}]
    store.write_text("books/mini.json", json.dumps({"name": "mini", "snapshot": None, "reports": reports}))
    monkeypatch.setattr("flows.curate.curate", failing)
    assert main(["curate", str(config_file)]) == ExitCode.DISK_OR_NETWORK
    assert capsys.readouterr().out == ""
    assert main(["funnel", store.root]) == 0
    assert "ingest" in capsys.readouterr().out


def failing(config):
    raise DiskOrNetworkError("the disk is full")
