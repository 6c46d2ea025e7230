"""The notebook runs from its first cell to its last, on a snapshot and a model that lie where it looks for them."""

import json
from pathlib import Path

from tests.model.test_crops_stream import write_snapshot

NOTEBOOK = Path(__file__).parent.parent.parent / "notebooks/snapshot_look_restore.ipynb"


def test_snapshot_look_restore(tiny_model, tmp_path, monkeypatch, capsys):
    write_snapshot(tmp_path / "runs/demo", [[3]], side_px=64)
    (tmp_path / "runs/osdhuman-tiny/checkpoints").mkdir(parents=True)
    (tmp_path / "runs/osdhuman-tiny/checkpoints/step-00000003").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    names = {"__name__": "notebook"}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "clear the outputs: they hold pictures of people"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["restored"].shape == names["hq"].shape == (64, 64, 3)
    assert "dB" in capsys.readouterr().out
