import json

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from flows.judging import judge_folder, judge_lq, judge_pair, persona_val
from model.network.weights import WeightsUnavailableError
from storage.evaluation import list_evaluations
from storage.snapshot import published_at
from tasks.evaluate.compare import per_image
from tasks.evaluate.evaluate import EvaluateConfig
from tasks.metrics import iqa_reference
from tasks.metrics.bootstrap import bootstrap_interval
from tasks.metrics.iqa import load_metric, measure, to_tensor, weights_of
from tasks.metrics.iqa_reference import FrechetSums, frechet_distance, inception_features, measure_pairs
from tests.fake_benchmark import snapshot_of, squares

QUICK = EvaluateConfig(metrics=("lpips", "psnr", "ssim"), device="cpu", num_resamples=200)


@pytest.fixture(scope="module")
def pairs(shared_data):
    """Twenty real pictures, restored badly in different ways, and themselves."""
    hq = squares(shared_data / "coco_mini/val2017", 20, 224)
    restored = [cv2.GaussianBlur(picture, (0, 0), 0.5 + 0.1 * i) for i, picture in enumerate(hq)]
    return restored, hq


@pytest.fixture(scope="module")
def benchmark(metric_weights, shared_data, tmp_path_factory):
    snapshot = snapshot_of(
        tmp_path_factory.mktemp("root"), squares(shared_data / "coco_mini/val2017", 20, 96), val_size=10
    )
    return persona_val(snapshot.store.local(snapshot.path))


def rows_of(benchmark):
    return [row for path in sorted((benchmark / "val").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def pixels(image):
    return cv2.imdecode(np.frombuffer(image["bytes"], np.uint8), cv2.IMREAD_COLOR)


def restored_into(folder, benchmark, change=lambda hq: hq, names=lambda i, row: row["crop_id"]):
    folder.mkdir()
    for i, row in enumerate(rows_of(benchmark)):
        cv2.imwrite(str(folder / f"{names(i, row)}.png"), change(pixels(row["hq"])))
    return folder


def means(evaluation):
    return {metric: result.mean for metric, result in evaluation.metrics.items()}


@pytest.mark.parametrize(("metric", "side_px"), [("dists", 64), ("lpips", 128), ("psnr", 224), ("ssim", 224)])
def test_values_on_20_crops_are_those_of_pyiqa_itself(metric_weights, pairs, metric, side_px):
    import pyiqa

    options = {"test_y_channel": True, "color_space": "ycbcr"} if metric in ("psnr", "ssim") else {}
    reference = pyiqa.create_metric(metric, device="cpu", **options)
    restored, hq = ([picture[:side_px, :side_px] for picture in side] for side in pairs)
    found = measure_pairs(metric, restored, hq, "cpu", batch_size=8)
    for value, *pair in zip(found, restored, hq, strict=True):
        assert value == pytest.approx(float(reference(*(to_tensor([picture]) for picture in pair))), abs=1e-6)


def test_niqe_on_20_crops_is_that_of_pyiqa_itself(metric_weights, pairs):
    import pyiqa

    reference = pyiqa.create_metric("niqe", device="cpu")
    for value, picture in zip(measure("niqe", pairs[0], "cpu", 8), pairs[0], strict=True):
        assert value == pytest.approx(float(reference(to_tensor([picture]))), abs=1e-6)


def test_psnr_and_ssim_are_those_of_scikit_image_on_y_of_ycbcr(pairs):
    restored, hq = pairs
    psnr, ssim = (measure_pairs(metric, restored, hq, "cpu", 8) for metric in ("psnr", "ssim"))
    weights = np.array([24.966, 128.553, 65.481]) / 255  # of B, G, R: ITU-R BT.601, Y from 16 to 235
    for i, pair in enumerate(zip(restored, hq, strict=True)):
        a, b = (picture.astype(np.float64) @ weights + 16 for picture in pair)
        noise = 10 ** (-peak_signal_noise_ratio(b, a, data_range=255) / 10)
        assert psnr[i] == pytest.approx(-10 * np.log10(noise + 1e-8), abs=1e-4)  # pyiqa adds 1e-8, against log(0)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
        whole = structural_similarity(np.round(a), np.round(b), full=True, **options)[1]
        assert ssim[i] == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-4)


class TinyInception(torch.nn.Module):
    """Called and recognised like pyiqa's Inception; its features depend on every pixel."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, 2048, 16, stride=16)

    def forward(self, batch, resize, normalise):
        assert (resize, normalise) == (False, False)
        return [self.layer(batch).sin().mean(dim=(2, 3), keepdim=True)]


def test_features_from_memory_are_those_of_pyiqa_from_a_folder(pairs, tmp_path, monkeypatch):
    from pyiqa.archs.fid_arch import get_folder_features

    network = TinyInception().eval()
    fake = type("Metric", (), {"net": type("Net", (), {"model": network})})
    monkeypatch.setattr(iqa_reference, "load_metric", lambda name, device: fake)
    for i, picture in enumerate(pairs[1][:5]):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture)
    reference = get_folder_features(str(tmp_path), network, num_workers=0, device="cpu", mode="clean", verbose=False)
    found = inception_features(pairs[1][:5], "cpu", batch_size=2)
    assert np.abs(found - reference).max() < 1e-5 < np.abs(reference - reference[0]).max()


def test_frechet_distance_is_that_of_pyiqa():
    from pyiqa.archs.fid_arch import frechet_distance as reference

    rng = np.random.default_rng(0)
    sets = [rng.normal(size=(300, 48)) @ rng.normal(size=(48, 48)) + shift for shift in (0.0, 0.5)]
    sums = [FrechetSums(48), FrechetSums(48)]
    for one, features in zip(sums, sets, strict=True):
        for start in range(0, 300, 7):
            one.add(features[start : start + 7])
    expected = reference(*(f(x) for x in sets for f in (lambda x: x.mean(0), lambda x: np.cov(x, rowvar=False))))
    assert frechet_distance(*sums) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(sums[0], sums[0]) == pytest.approx(0, abs=1e-6)


def test_swapping_sides_or_channels_changes_the_table(benchmark, tmp_path):
    right = restored_into(tmp_path / "right", benchmark, lambda hq: cv2.GaussianBlur(hq, (0, 0), 1.5))
    bgr_for_rgb = restored_into(
        tmp_path / "bgr", benchmark, lambda hq: cv2.GaussianBlur(hq, (0, 0), 1.5)[..., ::-1].copy()
    )
    nr = EvaluateConfig(metrics=("piqe", "lpips", "psnr", "ssim"), device="cpu", num_resamples=10)
    plain, turned = (means(judge_folder(benchmark, folder, nr)) for folder in (right, bgr_for_rgb))
    assert all(plain[metric] != pytest.approx(turned[metric], rel=1e-3) for metric in ("lpips", "psnr", "ssim"))
    # HQ in the place of the restored: what needs no reference sees it.
    swapped = means(judge_folder(benchmark, restored_into(tmp_path / "hq", benchmark), nr))
    assert swapped["piqe"] < plain["piqe"] - 5
    assert swapped["lpips"] == pytest.approx(0, abs=1e-6)
    assert swapped["psnr"] > 70 > plain["psnr"]


def test_results_are_means_of_values_with_intervals(benchmark):
    evaluation = judge_lq(benchmark, QUICK)
    store = published_at(str(benchmark)).store
    table = per_image(store, evaluation)
    assert table["crop_id"].to_pylist() == [row["crop_id"] for row in rows_of(benchmark)]
    for metric, result in evaluation.metrics.items():
        values = table[metric].to_numpy()
        assert result.mean == pytest.approx(values.mean(), abs=1e-12)
        assert result.low < result.mean < result.high
        assert (result.low, result.high) == bootstrap_interval(values, 200, 0)
    folder = store.local(evaluation.path)
    assert "| OSDHuman | 0.2627 | 22.41 | 0.6363 |" in (folder / "table.md").read_text()
    assert {path.name for path in folder.iterdir()} == {
        *("evaluation.json", "per_image.parquet", "examples.parquet", "table.md", "best.jpg", "worst.jpg")
    }
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert judge_lq(benchmark, QUICK) == evaluation
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert evaluation in list_evaluations(store)


def test_a_better_folder_is_better_by_more_than_the_interval(benchmark, tmp_path):
    light = restored_into(tmp_path / "light", benchmark, lambda hq: cv2.GaussianBlur(hq, (0, 0), 0.6))
    heavy = restored_into(tmp_path / "heavy", benchmark, lambda hq: cv2.GaussianBlur(hq, (0, 0), 3))
    a, b = (judge_folder(benchmark, folder, QUICK) for folder in (light, heavy))
    comparison = judge_pair(benchmark, a, b, QUICK)
    assert {difference.better for difference in comparison.differences.values()} == {"a"}
    for metric, difference in comparison.differences.items():
        assert difference.mean == pytest.approx(a.metrics[metric].mean - b.metrics[metric].mean, abs=1e-9)
        assert difference.low <= difference.mean <= difference.high
    same = judge_pair(benchmark, a, a, QUICK)
    assert {(d.better, d.mean) for d in same.differences.values()} == {(None, 0.0)}
    assert judge_pair(benchmark, b, a, QUICK).differences["psnr"].better == "b"


def test_a_broken_picture_costs_its_own_row(benchmark, tmp_path):
    folder = restored_into(tmp_path / "peer", benchmark)
    first, second, third = sorted(folder.glob("*.png"))[:3]
    first.unlink()
    second.write_bytes(b"no picture")
    cv2.imwrite(str(third), np.zeros((40, 50, 3), np.uint8))
    evaluation = judge_folder(benchmark, folder, QUICK)
    assert (evaluation.num_images, evaluation.num_failed, evaluation.metrics["psnr"].num) == (10, 3, 7)
    failures = per_image(published_at(str(benchmark)).store, evaluation).to_pylist()
    told = {row["crop_id"]: row["failure"] for row in failures if row["failure"]}
    assert told == {
        first.stem: "no picture of it in peer",
        second.stem: f"{second.name} is not a picture",
        third.stem: "the picture is 50x40 px, not 96x96",
    }


def test_pictures_without_the_ids_are_taken_in_order(benchmark, tmp_path):
    named = restored_into(tmp_path / "named", benchmark)
    numbered = restored_into(tmp_path / "numbered", benchmark, names=lambda i, row: f"{i:05d}")
    assert means(judge_folder(benchmark, named, QUICK)) == means(judge_folder(benchmark, numbered, QUICK))
    next(numbered.glob("*.png")).unlink()
    with pytest.raises(ValueError, match=r"9 files are not as many as the benchmark's 10 pictures"):
        judge_folder(benchmark, numbered, QUICK)


def test_a_metric_without_weights_is_unavailable_or_in_strict_mode_an_error(benchmark, monkeypatch):
    def missing(name):
        if name == "musiq":
            raise WeightsUnavailableError("weights of metric musiq are not here")
        return weights_of(name)

    monkeypatch.setattr("tasks.evaluate.evaluate.weights_of", missing)
    config = EvaluateConfig(metrics=("musiq", "psnr"), device="cpu", num_resamples=10)
    evaluation = judge_lq(benchmark, config)
    assert evaluation.metrics["musiq"].unavailable == "weights of metric musiq are not here"
    assert evaluation.metrics["psnr"].num == 10
    table = published_at(str(benchmark)).store.local(evaluation.path) / "table.md"
    assert "- musiq: weights of metric musiq are not here" in table.read_text()
    with pytest.raises(WeightsUnavailableError):
        judge_lq(benchmark, config.model_copy(update={"seed": 1}), strict=True)


def test_unknown_metrics_are_refused_with_names_that_are_close():
    with pytest.raises(ValueError, match="there is no metric niqee; try niqe"):
        EvaluateConfig(metrics=("niqee",))
    with pytest.raises(ValueError, match="metric sfid is not offered"):
        EvaluateConfig(metrics=("sfid",))


def test_the_bootstrap_covers_the_mean_in_95_of_100_samples():
    rng = np.random.default_rng(0)
    covered = 0
    for i in range(400):
        low, high = bootstrap_interval(rng.exponential(1.0, 200), 400, seed=i)
        covered += low <= 1.0 <= high
    assert 0.91 < covered / 400 < 0.98


def test_lpips_is_alexnet(metric_weights):
    assert load_metric("lpips", "cpu").net.net.__class__.__name__ == "alexnet"
    assert any(name.startswith("alexnet") for name in weights_of("lpips"))
    assert json.dumps(weights_of("psnr")) == "{}"
