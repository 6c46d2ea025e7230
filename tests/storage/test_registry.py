"""Versions that never change, aliases that are never unset, and a history that a kill cannot split from them."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.aliases import AliasMovedError
from storage.registry import Registry, version_id
from storage.store import Store

PROJECT = Path(__file__).parent.parent.parent
VERSIONS = [version_id({"seed": seed}, "d") for seed in range(3)]


def trained(folder, text="weights"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "generator.safetensors").write_text(text)
    facts = {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    about = {
        "format_version": 1, "kind": "osdhuman", "snapshot": {"path": "p", "id": "s", "digest": "d"}, "step": 3,
        "training": {"steps": 3}, "code_version": "1", "files": {"generator.safetensors": facts},
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(about))
    (folder / "curves.jsonl").write_text('{"step": 1}\n')
    return folder


def registry_with(root, versions=VERSIONS):
    registry = Registry(Store(str(root)))
    folder = trained(Path(root) / "training")
    for version in versions:
        registry.register("m", version, folder, curves=folder / "curves.jsonl")
    return registry


def test_a_version_is_registered_once_and_resolves_by_every_name(tmp_path):
    registry = registry_with(tmp_path)
    first = registry.version("m", VERSIONS[0])
    trained(tmp_path / "other", "other weights")
    assert registry.register("m", VERSIONS[0], tmp_path / "other", parent="x") == first  # it stays as it is
    registry.promote("m", VERSIONS[0], why="first")
    registry.promote("m", VERSIONS[1], "candidate", why="new")
    assert registry.resolve("m") == registry.resolve("m@production") == tmp_path / "models/m" / VERSIONS[0]
    assert registry.resolve("m@candidate") == registry.resolve(f"m/{VERSIONS[1]}")
    assert registry.aliases("m") == {"candidate": VERSIONS[1], "production": VERSIONS[0]}
    for unknown in ("m@staging", "n", "m/v-000000000000"):
        with pytest.raises(ValueError, match="there are m@candidate, m@production"):
            registry.resolve(unknown)
    for outside in ("../m", "m/../../x", "m@../production", "/etc/passwd"):
        with pytest.raises(ValueError, match="is no name"):
            registry.resolve(outside)


def test_a_folder_that_is_not_what_training_wrote_is_not_taken_in(tmp_path):
    folder = trained(tmp_path / "training")
    (folder / "generator.safetensors").write_text("tampered")
    registry = Registry(Store(str(tmp_path)))
    with pytest.raises(ValueError, match=r"generator\.safetensors differs"):
        registry.register("m", VERSIONS[0], folder)
    assert not registry.has("m", VERSIONS[0])


def test_a_flipped_bit_anywhere_is_found_and_keeps_the_model_from_being_used(tmp_path):
    registry = registry_with(tmp_path, VERSIONS[:1])
    registry.promote("m", VERSIONS[0], why="first")
    registry.add_record("m", VERSIONS[0], "metrics", {"niqe": 4.0})
    assert registry.verify("m", VERSIONS[0]) == []
    files = [path for path in (tmp_path / "models").rglob("*") if path.is_file()]
    assert len(files) == 6
    for path in files:
        intact = path.read_bytes()
        for at in range(0, len(intact), max(1, len(intact) // 7)):
            path.write_bytes(intact[:at] + bytes([intact[at] ^ 1]) + intact[at + 1 :])
            with pytest.raises(ValueError, match="was changed"):
                registry.resolve("m")
        path.write_bytes(intact)
    (tmp_path / "models/m" / VERSIONS[0] / "stranger").touch()
    assert registry.verify("m", VERSIONS[0]) == ["stranger does not belong to the version"]


def test_records_are_written_once(tmp_path):
    registry = registry_with(tmp_path)
    assert registry.record("m", VERSIONS[0], "decision") is None
    registry.add_record("m", VERSIONS[0], "decision", {"promoted": True})
    assert registry.add_record("m", VERSIONS[0], "decision", {"promoted": False})["promoted"]


class Promotions(RuleBasedStateMachine):
    """Any order of promotions, repeated ones and rollbacks, against a list and a stack."""

    @initialize()
    def start(self):
        self.folder = tempfile.TemporaryDirectory()
        self.registry = registry_with(self.folder.name)
        self.pointed, self.stack, self.asked = [], [], []

    @rule(version=st.sampled_from(VERSIONS), number=st.integers(0, 5))
    def promote_for_a_decision(self, version, number):
        wish = f"decision-{number}"
        now = self.pointed[-1] if self.pointed else None
        change = self.registry.promote("m", version, why="better", id=wish, expected=now)
        assert change.id == wish
        if wish not in self.asked:
            self.asked.append(wish)
            self.pointed.append(version)
            self.stack.append(version)

    @rule(version=st.sampled_from(VERSIONS))
    def promote_by_hand(self, version):
        self.registry.promote("m", version, why="I say so")
        if not self.pointed or self.pointed[-1] != version:
            self.pointed.append(version)
            self.stack.append(version)

    @precondition(lambda self: len(self.stack) > 1)
    @rule()
    def rollback(self):
        self.registry.rollback("m", why="worse after all")
        self.stack.pop()
        self.pointed.append(self.stack[-1])

    @precondition(lambda self: len(self.stack) < 2)
    @rule()
    def nothing_to_go_back_to(self):
        with pytest.raises(ValueError, match="no earlier version"):
            self.registry.rollback("m", why="?")

    @precondition(lambda self: self.pointed)
    @rule()
    def too_late(self):
        other = next(version for version in VERSIONS if version != self.pointed[-1])
        with pytest.raises(AliasMovedError):
            self.registry.promote("m", other, why="?", id="late", expected="v-elsewhere")

    @invariant()
    def the_alias_is_the_end_of_its_history(self):
        history = self.registry.history("m", "production")
        assert [change.version for change in history] == self.pointed
        assert [change.previous for change in history] == [None, *self.pointed][: len(self.pointed)]
        assert self.registry.alias("m", "production") == (self.pointed[-1] if self.pointed else None)

    def teardown(self):
        self.folder.cleanup()


TestPromotions = Promotions.TestCase
TestPromotions.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)

PROMOTE_FOR_EVER = """
import itertools, sys
from storage.registry import Registry
from storage.store import Store
registry = Registry(Store(sys.argv[1]))
versions = sys.argv[2].split(",")
done = {change.id for change in registry.history("m", "production")}
for i in itertools.count():
    if f"decision-{i}" in done:
        continue
    now = registry.alias("m", "production")
    registry.promote("m", versions[i % 3], why="better", id=f"decision-{i}", expected=now)
    print(i, flush=True)
"""


def test_killed_while_promoting_it_is_never_unset_and_never_promoted_twice(tmp_path):
    registry = registry_with(tmp_path)
    registry.promote("m", VERSIONS[0], why="first")
    command = [sys.executable, "-c", PROMOTE_FOR_EVER, str(tmp_path), ",".join(VERSIONS)]
    rng, told = random.Random(4), []
    for _ in range(6):
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        told.append(process.stdout.readline())
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().splitlines()
        process.wait()
        assert registry.alias("m", "production") in VERSIONS
    ids = [change.id for change in registry.history("m", "production")][1:]
    assert ids == [f"decision-{i}" for i in range(len(ids))]  # each once, in order, none lost that was told
    assert {f"decision-{int(line)}" for line in told if line.strip()} <= set(ids)
