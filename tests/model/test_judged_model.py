"""A real model folder on a benchmark: its pictures are kept, device and precision stand in the record."""

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.judging import import_pictures, judge_lq, judge_model, judge_pair
from model.restoration.restore import Restorer
from tasks.evaluate.evaluate import EvaluateConfig
from tests.fake_benchmark import squares

NUM = 20
CONFIG = EvaluateConfig(metrics=("psnr",), device="cpu", num_resamples=50)


def test_what_a_model_restores_is_kept_and_two_precisions_are_never_compared(tiny_model, shared_data, tmp_path):
    hq, lq = tmp_path / "hq", tmp_path / "lq"
    for folder, sigma_px in ((hq, 0.01), (lq, 2.0)):
        folder.mkdir()
        for i, picture in enumerate(squares(shared_data / "coco_mini/val2017", NUM, 64)):
            cv2.imwrite(str(folder / f"{i:04d}.png"), cv2.GaussianBlur(picture, (0, 0), sigma_px))
    benchmark = import_pictures(str(tmp_path), "pair", lq, hq, None)
    single, half = (
        judge_model(benchmark, tiny_model, CONFIG.model_copy(update={"precision": precision}))
        for precision in ("auto", "bf16")
    )
    assert [(e.device, e.precision, e.num_judged) for e in (single, half)] == [
        ("cpu", "fp32", NUM),
        ("cpu", "bf16", NUM),
    ]
    assert single.id != half.id
    kept = sorted((tmp_path / "evaluations/pictures").rglob("*.parquet"))
    assert len(kept) == 2
    restorer = Restorer.load(tiny_model, "cpu")
    found = {tuple(row.items()) for path in kept for row in in_pixels(path)}
    for path in sorted(lq.iterdir())[:2]:
        (expected,) = restorer.restore([cv2.imread(str(path))])
        assert (("crop_id", path.stem), ("restored", expected.tobytes())) in found
    difference = judge_pair(benchmark, single, judge_lq(benchmark, CONFIG), CONFIG).differences["psnr"]
    assert (difference.num, difference.better) == (NUM, "b")  # random weights restore nothing
    with pytest.raises(ValueError, match=r"in precision fp32, .* in precision bf16: judge both alike"):
        judge_pair(benchmark, single, half, CONFIG)


def in_pixels(path):
    for row in pq.read_table(path, columns=["crop_id", "restored"]).to_pylist():
        picture = cv2.imdecode(np.frombuffer(row["restored"]["bytes"], np.uint8), cv2.IMREAD_COLOR)
        yield {"crop_id": row["crop_id"], "restored": picture.tobytes()}
