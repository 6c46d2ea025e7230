"""Files and folders: every kind of picture is read, nothing is overwritten, and every input has its row."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from flows.cli.__main__ import main
from model.restoration.picture_files import read_picture
from model.restoration.restore_files import REPORT, find_jobs

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
COLOURS = np.dstack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)])  # RGB


def test_every_kind_of_picture_becomes_eight_bit_colours(tmp_path):
    def read(image: Image.Image, name: str, **options):
        image.save(tmp_path / name, **options)
        return read_picture(tmp_path / name)

    colours = Image.fromarray(COLOURS)
    assert np.array_equal(read(colours, "colours.png").bgr, COLOURS[:, :, ::-1])
    assert np.array_equal(read(Image.fromarray(RAMP), "grey.png").bgr, np.dstack([RAMP] * 3))
    assert np.array_equal(read(Image.fromarray(RAMP * np.uint16(257)), "grey16.png").bgr, np.dstack([RAMP] * 3))
    cv2.imwrite(str(tmp_path / "colours16.png"), COLOURS[:, :, ::-1] * np.uint16(257))
    assert np.array_equal(read_picture(tmp_path / "colours16.png").bgr, COLOURS[:, :, ::-1])
    cmyk = read(colours.convert("CMYK"), "cmyk.jpg", quality=100)
    assert np.abs(cmyk.bgr.astype(int) - COLOURS[:, :, ::-1]).mean() < 3
    assert cmyk.alpha is None
    both = read(Image.fromarray(np.dstack([COLOURS, RAMP])), "alpha.webp", lossless=True, exact=True)
    assert np.array_equal(both.alpha, RAMP) and np.array_equal(both.bgr, COLOURS[:, :, ::-1])
    palette = Image.fromarray((RAMP // 128).astype(np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 200, 210, 220])
    seen = read(palette, "palette.png", transparency=0)
    assert np.array_equal(seen.alpha, np.where(RAMP < 128, 0, 255)) and tuple(seen.bgr[0, 63]) == (220, 210, 200)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture_as_opencv_does(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", quality=95, exif=exif)
    expected = cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_COLOR)
    got = read_picture(tmp_path / "a.jpg").bgr
    assert got.shape == expected.shape and np.abs(got.astype(int) - expected).max() <= 3


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
        return [(job.path.name, job.output) for job in find_jobs(inputs, tmp_path / "out")]

    tree = outputs(str(photos))
    assert tree == [
        *(("alpha.png", "alpha.png"), ("cut.jpg", "cut.png"), ("b.jpg", "deep/b.png"), ("b.png", "deep/b.png")),
        *(("empty.png", "empty.png"), ("text.png", "text.png"), ("wide.png", "wide.png")),
    ]
    assert outputs(str(photos), str(photos / "cut.jpg")) == tree
    assert outputs(f"{photos}/**/b.*") == [("b.jpg", "deep/b.png"), ("b.png", "deep/b.png")]
    assert outputs(str(photos / "gone.jpg")) == [("gone.jpg", "gone.png")]
    (photos / "out").mkdir()
    Image.fromarray(COLOURS).save(photos / "out/earlier.png")
    assert len(find_jobs([str(photos)], photos / "out")) == len(tree)
    with pytest.raises(ValueError, match="choose another output folder"):
        find_jobs([str(photos)], photos)
    with pytest.raises(ValueError, match="holds no picture"):
        find_jobs([str(photos / "*.gif")], tmp_path / "out")


def test_the_command_restores_what_it_can_and_reports_the_rest(photos, tmp_path, tiny_model, capsys):
    out = tmp_path / "out"
    command = (
        "restore",
        photos,
        photos / "gone.jpg",
        "-o",
        out,
        "--checkpoint",
        tiny_model,
        "--upscale",
        2,
        "--device",
        "cpu",
        "--tile",
        64,
        "--batch-size",
        3,
    )
    command = [str(part) for part in command]
    assert main(command) == 1
    assert "8 in = 2 restored + 6 failed" in capsys.readouterr().out
    report = json.loads((out / REPORT).read_text())
    assert (report["num_in"], report["num_restored"], report["num_failed"]) == (8, 2, 6)
    assert {Path(row["input"]).name: row["reason"] for row in report["pictures"]} == {
        **{"alpha.png": None, "b.jpg": None, "b.png": "output_taken", "cut.jpg": "truncated_image"},
        **{"empty.png": "empty_file", "text.png": "not_an_image", "wide.png": "too_many_pixels"},
        **{"gone.jpg": "missing_file"},
    }
    assert [row["tiled"] for row in report["pictures"] if not row["reason"]] == [True, True]
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*")) == ["alpha.png", "deep/b.png", REPORT]
    restored = cv2.imread(str(out / "alpha.png"), cv2.IMREAD_UNCHANGED)
    assert restored.shape == (96, 128, 4)
    assert np.abs(restored[:, 8:-8, 3].astype(int) - cv2.resize(RAMP, (128, 96))[:, 8:-8]).max() <= 3
    first = {path: path.read_bytes() for path in out.rglob("*.png")}
    assert main(command) == 1
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == first


def test_a_name_that_nobody_registered_is_told_in_one_sentence(photos, tmp_path, capsys):
    command = ["restore", photos, "-o", tmp_path / "o", "--checkpoint", "nobody@production", "--root", tmp_path]
    assert main([str(part) for part in command]) == 2
    told = capsys.readouterr().err
    assert told.startswith("persona: ") and told.count("\n") == 1
