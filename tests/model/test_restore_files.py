"""Files and folders: every kind of picture is read, nothing is overwritten, and every input has its row."""

import json
import os
import resource
import tempfile
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from PIL import Image

from flows.cli.__main__ import main
from model.restoration.restore import RestoreConfig, Restorer
from storage.reasons import Reason
from tasks.images.photo import PhotoConfig, open_photo
from tasks.images.photo_header import PixelFormat
from tasks.restore.find_pictures import find_pictures
from tasks.restore.restore_files import REPORT, restore_files

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
COLOURS = np.dstack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)])  # RGB


def test_every_kind_of_picture_becomes_eight_bit_colours(tmp_path):
    everything = PhotoConfig(pixel_formats=get_args(PixelFormat))

    def read(image: Image.Image, name: str, **options):
        image.save(tmp_path / name, **options)
        return open_photo((tmp_path / name).read_bytes(), everything).picture(apply_exif=True)

    colours = Image.fromarray(COLOURS)
    assert np.array_equal(read(colours, "colours.png").bgr, COLOURS[:, :, ::-1])
    cmyk = read(colours.convert("CMYK"), "cmyk.jpg", quality=100)
    assert np.abs(cmyk.bgr.astype(int) - COLOURS[:, :, ::-1]).mean() < 3
    assert cmyk.alpha is None
    both = read(Image.fromarray(np.dstack([COLOURS, RAMP])), "alpha.webp", lossless=True, exact=True)
    assert np.array_equal(both.alpha, RAMP) and np.array_equal(both.bgr, COLOURS[:, :, ::-1])
    palette = Image.fromarray((RAMP // 128).astype(np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 200, 210, 220])
    for name in ("palette.png", "palette.gif"):
        seen = read(palette, name, transparency=0)
        assert np.array_equal(seen.alpha, np.where(RAMP < 128, 0, 255)) and tuple(seen.bgr[0, 63]) == (220, 210, 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = read(Image.fromarray(np.dstack([COLOURS, RAMP])), "lying.png", exif=exif)
    assert np.array_equal(lying.alpha, np.rot90(RAMP, -1)) and lying.bgr.shape == (64, 48, 3)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with pictures good and bad, two of which ask for one name."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(np.dstack([COLOURS, RAMP])).save(folder / "alpha.png")
    Image.fromarray(COLOURS).save(folder / "deep/b.jpg")
    Image.fromarray(COLOURS).save(folder / "deep/b.png")
    whole = (folder / "deep/b.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    Image.fromarray(COLOURS[:1]).resize((60_000, 1)).save(folder / "wide.png")
    return folder


def test_inputs_are_found_once_and_keep_their_tree(photos, tmp_path):
    def outputs(*inputs):
        return [(job.path.name, job.output) for job in find_pictures(inputs, tmp_path / "out").jobs]

    tree = outputs(str(photos))
    assert tree == [
        *(("alpha.png", "alpha.png"), ("cut.jpg", "cut.png"), ("b.jpg", "deep/b.png"), ("b.png", "deep/b.png")),
        *(("empty.png", "empty.png"), ("text.png", "text.png"), ("wide.png", "wide.png")),
    ]
    assert outputs(str(photos), str(photos / "cut.jpg")) == tree
    assert outputs(f"{photos}/**/b.*") == [("b.jpg", "deep/b.png"), ("b.png", "deep/b.png")]
    assert outputs(str(photos / "gone.jpg")) == [("gone.jpg", "gone.png")]
    assert find_pictures([str(photos)], tmp_path / "out").num_passed_over == 1
    (photos / "out").mkdir()
    Image.fromarray(COLOURS).save(photos / "out/earlier.png")
    assert len(find_pictures([str(photos)], photos / "out").jobs) == len(tree)
    with pytest.raises(ValueError, match="choose another output folder"):
        find_pictures([str(photos)], photos)
    with pytest.raises(ValueError, match="holds no picture"):
        find_pictures([str(photos / "*.gif")], tmp_path / "out")


def test_links_and_folders_that_lead_nowhere_have_a_row():
    with tempfile.TemporaryDirectory() as name:  # where another user may look too, as root may read everything
        photos, elsewhere = Path(name, "photos"), Path(name, "elsewhere")
        Path(name).chmod(0o755)
        for folder in (photos, elsewhere, photos / "locked"):
            folder.mkdir()
        for file in (elsewhere / "linked.png", photos / "locked/hidden.png", photos / "._a.png", photos / "Thumbs.db"):
            file.write_bytes(b"something")
        for link, target in (("dangling.jpg", "nowhere.jpg"), ("circle.jpg", "circle.jpg"), ("loop", ".")):
            (photos / link).symlink_to(target)
        (photos / "far").symlink_to(elsewhere)
        (photos / "locked").chmod(0)
        user = os.geteuid()
        try:
            os.seteuid(user or 65534)
            jobs, num_passed_over = find_pictures([str(photos)], Path(name, "out"))
        finally:
            os.seteuid(user)
            (photos / "locked").chmod(0o700)
    assert [job.output for job in jobs] == ["circle.png", "dangling.png", "far/linked.png", "locked.png"]
    assert jobs[-1].why_not.reason is Reason.UNREADABLE_FILE and "Permission denied" in jobs[-1].why_not.detail
    assert num_passed_over == 2


def command_for(photos, out, model, *more):
    fixed = ("--checkpoint", model, "--upscale", 2, "--device", "cpu", "--tile", 64, "--batch-size", 3)
    return [str(part) for part in ("restore", photos, *more, "-o", out, *fixed)]


def test_the_command_restores_what_it_can_and_reports_the_rest(photos, tmp_path, tiny_model, capsys):
    out = tmp_path / "out"
    (photos / "dangling.jpg").symlink_to("nowhere.jpg")
    (photos / "circle.jpg").symlink_to("circle.jpg")
    (out / "alpha.png").mkdir(parents=True)
    command = command_for(photos, out, tiny_model, photos / "gone.jpg")
    assert main(command) == 1
    assert "10 in = 1 restored + 9 failed; 1 in tiles; 1 other files passed over" in capsys.readouterr().out
    (out / "alpha.png").rmdir()
    assert main(command) == 1
    assert "10 in = 2 restored (1 by an earlier run) + 8 failed" in capsys.readouterr().out
    report = json.loads((out / REPORT).read_text())
    assert (report["num_in"], report["num_restored"], report["num_failed"]) == (10, 2, 8)
    assert {Path(row["input"]).name: row["reason"] for row in report["pictures"]} == {
        **{"alpha.png": None, "b.jpg": None, "b.png": "output_taken", "cut.jpg": "truncated_image"},
        **{"empty.png": "empty_file", "text.png": "not_an_image", "wide.png": "too_many_pixels"},
        **{"gone.jpg": "missing_file", "dangling.jpg": "missing_file", "circle.jpg": "unreadable_file"},
    }
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*")) == ["alpha.png", "deep/b.png", REPORT]
    restored = cv2.imread(str(out / "alpha.png"), cv2.IMREAD_UNCHANGED)
    assert restored.shape == (96, 128, 4)
    assert np.abs(restored[:, 8:-8, 3].astype(int) - cv2.resize(RAMP, (128, 96))[:, 8:-8]).max() <= 3


def test_a_restoration_that_is_stopped_says_what_is_kept_and_goes_on(tmp_path, tiny_model, capsys, monkeypatch):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    names = ["0.png", "1.png", "2.png", "3.png", f"{'4' * 251}.png"]
    for i, name in enumerate(names):  # the last is as long as a name may be
        Image.fromarray(np.roll(COLOURS, i, axis=1)).save(photos / name)
    command = command_for(photos, out, tiny_model)[:-2]  # one by one
    restore, seen = Restorer.restore, []

    def interrupted_at_the_third(self, pictures):
        seen.extend(pictures)
        if pictures and len(seen) == 3:
            raise KeyboardInterrupt
        return restore(self, pictures)

    monkeypatch.setattr(Restorer, "restore", interrupted_at_the_third)
    assert main(command) == 130
    told = capsys.readouterr()
    assert "5 in = 2 restored + 0 failed + 3 not reached" in told.out and "go on" in told.err
    assert sorted(path.name for path in out.glob("*.png")) == ["0.png", "1.png"]
    assert main(command) == 0
    assert len(seen) == 3 + 3
    assert "5 in = 5 restored (2 by an earlier run) + 0 failed" in capsys.readouterr().out
    first = {path.name: path.read_bytes() for path in out.glob("*.png")}
    Image.fromarray(COLOURS[:, ::-1]).save(photos / names[4])  # another picture under its name is restored again
    assert main(command) == 0 and len(seen) == 7
    assert main([*command, "--colour", "adain"]) == 0 and len(seen) == 12  # and all of them in another way
    assert all((out / name).read_bytes() != png for name, png in first.items())


def test_want_of_memory_costs_one_row(tmp_path, tiny_model):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(COLOURS).save(photos / "small.png")
    Image.fromarray(COLOURS).resize((3000, 3000)).save(photos / "large.png")
    restorer = Restorer.load(tiny_model, device="cpu", config=RestoreConfig(tile_px=4096, overlap_px=64, batch_size=2))
    restorer.restore([np.ascontiguousarray(COLOURS)])  # what is loaded once is loaded
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (in_use + (300 << 20), limits[1]))
        report = restore_files(find_pictures([str(photos)], tmp_path / "out"), tmp_path / "out", restorer, "", {})
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    reasons = {Path(row["input"]).name: row["reason"] for row in report["pictures"]}
    assert reasons == {"small.png": None, "large.png": "not_restored"}
    assert "memory" in report["pictures"][0]["detail"]


def test_a_name_that_nobody_registered_is_told_in_one_sentence(photos, tmp_path, capsys):
    command = ["restore", photos, "-o", tmp_path / "o", "--checkpoint", "nobody@production", "--root", tmp_path]
    assert main([str(part) for part in command]) == 2
    told = capsys.readouterr().err
    assert told.startswith("persona: ") and told.count("\n") == 1
