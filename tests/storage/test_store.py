"""The root: what is written aside is nobody else's, and what is somebody else's stays."""

import resource
from pathlib import Path

import pytest

from flows.execution.root_lock import root_lock
from storage.errors import DiskOrNetworkError, ExitCode
from storage.store import SCRATCH, SWEPT, Store

USERS_OWN = [
    "downloads/train.zip.part", "photos/a.jpg.part", "train.zip.part", ".scratch/notes.txt", ".lock", "crop.part",
    "reports/big.zip.part", "crop/mine/x.part", ".persona-notes/a.part", "a/.persona-1.part", "models/m.part",
]  # fmt: skip


@pytest.mark.parametrize("here", [False, True])
def test_files_of_the_user_stay_whatever_they_are_called(tmp_path, monkeypatch, here):
    monkeypatch.chdir(tmp_path)
    for name in USERS_OWN:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("mine")
    store = Store("." if here else str(tmp_path))
    halves = []
    for folder in SWEPT:
        with pytest.raises(ZeroDivisionError), store.new_file(f"{folder}/deep/x.parquet") as aside:
            aside.touch()
            halves.append(aside.with_name(aside.name.replace(aside.stem[-4:], "dead")))  # a process that was killed
            halves[-1].touch()
            raise ZeroDivisionError
    (tmp_path / SCRATCH).mkdir()
    (tmp_path / SCRATCH / "half").touch()
    assert store.files("crop") == []
    with root_lock(store):
        pass
    assert [name for name in USERS_OWN if not Path(name).is_file() or Path(name).read_text() != "mine"] == []
    assert not any(half.exists() for half in halves) and not (tmp_path / SCRATCH).exists()


def test_a_root_in_the_home_folder_and_names_of_255_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    long = "ü" * 125 + ".json"
    Store("~/runs").write_text(f"books/{long}", "{}")
    assert (tmp_path / "runs/books" / long).read_text() == "{}"
    assert Store("~/runs").files("") == [f"books/{long}"] and not Path("~").exists()


def test_a_full_disk_names_the_file(tmp_path):
    store = Store(str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # beyond it a write fails as on a full disk
    try:
        with pytest.raises(DiskOrNetworkError, match=f"{tmp_path}/crop/a.json cannot be written, file too large") as e:
            store.write_text("crop/a.json", "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert e.value.exit_code == ExitCode.DISK_OR_NETWORK
    assert list((tmp_path / "crop").iterdir()) == []
