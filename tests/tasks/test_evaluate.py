import itertools
import json
import os
import shutil

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from flows.cli.show_judging import evaluate_and_show
from flows.judging import judge_folder, judge_hq, judge_lq, judge_pair, persona_val
from model.network.weights import WeightsUnavailableError
from storage.digest import sha256_of_file
from storage.errors import ExitCode
from storage.evaluation import list_evaluations
from storage.snapshot import published_at
from tasks.evaluate import judge, parts
from tasks.evaluate.candidates import Contender
from tasks.evaluate.compare import compare, per_image
from tasks.evaluate.evaluate import EvaluateConfig, evaluate
from tasks.evaluate.pairing import ids_in
from tasks.images.pictures import decoded
from tasks.metrics import iqa, iqa_reference
from tasks.metrics.bootstrap import bootstrap_interval
from tasks.metrics.iqa import checked_name, load_metric, measure, to_tensor, weights_files, weights_of
from tasks.metrics.iqa_reference import FrechetSums, frechet_distance, inception_features, measure_pairs
from tasks.metrics.suite import lower_is_better, needed_by
from tests.fake_benchmark import snapshot_of, squares

NUM = 24
"""Pictures of the benchmark: enough for intervals."""
QUICK = EvaluateConfig(metrics=("lpips", "psnr", "ssim"), device="cpu", num_resamples=200)


PSNR = EvaluateConfig(metrics=("psnr",), device="cpu", num_resamples=10)


@pytest.fixture(scope="module")
def pairs(shared_data):
    """Twenty real pictures, restored badly in different ways, and themselves."""
    hq = squares(shared_data / "coco_mini/val2017", 20, 224)
    restored = [cv2.GaussianBlur(picture, (0, 0), 0.5 + 0.1 * i) for i, picture in enumerate(hq)]
    return restored, hq


@pytest.fixture(scope="module")
def benchmark(metric_weights, shared_data, tmp_path_factory):
    snapshot = snapshot_of(
        tmp_path_factory.mktemp("root"), squares(shared_data / "coco_mini/val2017", 2 * NUM, 96), val_size=NUM
    )
    return persona_val(snapshot.store.local(snapshot.path))


def rows_of(benchmark):
    return [row for path in sorted((benchmark / "val").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def pixels(image):
    return cv2.imdecode(np.frombuffer(image["bytes"], np.uint8), cv2.IMREAD_COLOR)


def restored_into(folder, benchmark, change=lambda hq: hq, names="{id}.png"):
    """Every picture of the benchmark, changed, in a file named after its place and its id."""
    folder.mkdir()
    for i, row in enumerate(rows_of(benchmark)):
        cv2.imwrite(str(folder / names.format(i=i, id=row["crop_id"])), change(pixels(row["hq"])))
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


def test_features_from_memory_are_those_of_pyiqa_from_a_folder(metric_weights, pairs, tmp_path, monkeypatch):
    from pyiqa.archs.fid_arch import get_folder_features

    network = TinyInception().eval()
    fake = type("Metric", (), {"net": type("Net", (), {"model": network})})
    monkeypatch.setattr(iqa_reference, "load_metric", lambda name, device: fake)
    for i, picture in enumerate(pairs[1][:5]):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture)
    reference = get_folder_features(str(tmp_path), network, num_workers=0, device="cpu", mode="clean", verbose=False)
    found = inception_features(pairs[1][:5], "cpu", batch_size=2)
    assert np.abs(found - reference).max() < 1e-5 < np.abs(reference - reference[0]).max()


def test_fid_is_that_of_all_hq_pictures_and_0_for_themselves(benchmark, metric_weights, tmp_path, monkeypatch):
    """Its features are kept like values: one more contender computes none of HQ again."""
    network = TinyInception().eval()
    fake = type("Metric", (), {"net": type("Net", (), {"model": network})})
    monkeypatch.setattr(iqa_reference, "load_metric", lambda m, d: fake if m == "fid" else load_metric(m, d))
    monkeypatch.setattr("tasks.evaluate.evaluate.weights_files", lambda name: ())
    monkeypatch.setattr(iqa, "weights_of", lambda name, device: {})
    config = EvaluateConfig(metrics=("fid", "psnr"), device="cpu", num_resamples=10)
    assert judge_hq(benchmark, config).metrics["fid"].mean == pytest.approx(0, abs=1e-3)
    blurred = restored_into(tmp_path / "blurred", benchmark, lambda hq: cv2.GaussianBlur(hq, (0, 0), 2))
    for row in rows_of(benchmark)[:4]:
        (blurred / f"{row['crop_id']}.png").unlink()
    found = judge_folder(benchmark, blurred, config).metrics["fid"]
    hq = [pixels(row["hq"]) for row in rows_of(benchmark)]
    sums = FrechetSums(), FrechetSums()
    for one, pictures in zip(sums, ([cv2.GaussianBlur(p, (0, 0), 2) for p in hq[4:]], hq), strict=True):
        one.add(inception_features(pictures, "cpu", 8))
    assert (found.num, found.mean) == (NUM - 4, pytest.approx(frechet_distance(*sums), abs=1e-3))
    monkeypatch.setattr(network, "forward", None)  # nothing of it is computed again
    again = EvaluateConfig(metrics=("psnr", "fid"), device="cpu", num_resamples=10)
    assert judge_folder(benchmark, blurred, again).metrics["fid"] == found


def test_a_copied_benchmark_keeps_its_evaluations_beside_itself(benchmark, tmp_path):
    copy = shutil.copytree(benchmark, tmp_path / "somewhere/else/val")
    evaluation = judge_lq(copy, PSNR)
    assert means(evaluation) == means(judge_lq(benchmark, PSNR))
    assert (tmp_path / "somewhere/else" / evaluation.path / "table.md").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["somewhere"]
    assert [path.name for path in (tmp_path / "somewhere").iterdir()] == ["else"]


def test_frechet_distance_is_that_of_pyiqa(metric_weights):
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
    assert "22.79" not in (folder / "table.md").read_text()  # OSDHuman's own, on other LQ pictures
    assert {path.name for path in folder.iterdir()} == {
        *("evaluation.json", "per_image.parquet", "examples.parquet", "table.md", "best.jpg", "worst.jpg")
    }
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert judge_lq(benchmark, QUICK) == evaluation
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert evaluation in list_evaluations(store)


def test_only_what_is_missing_is_restored_and_measured(benchmark, tmp_path, monkeypatch):
    """Killed after the second of three parts; run again; then with one more metric."""
    seen = []

    def network(rows):
        seen.extend(row["crop_id"] for row in rows)
        return [cv2.GaussianBlur(decoded(row, "hq"), (0, 0), 1.0) for row in rows]

    contender = Contender("network", "model", "0123", lambda device, precision: network)
    published, ids = published_at(str(benchmark)), [row["crop_id"] for row in rows_of(benchmark)]
    monkeypatch.setattr(parts, "PART_ROWS", 8)
    monkeypatch.setattr(judge.Judge, "pictures", killed_at(3, judge.Judge.pictures))
    with pytest.raises(KeyboardInterrupt):
        evaluate(published, contender, PSNR)
    assert seen == ids[:16]
    monkeypatch.undo()
    monkeypatch.setattr(parts, "PART_ROWS", 8)
    found = evaluate(published, contender, PSNR)
    assert seen == ids
    more = evaluate(published, contender, PSNR.model_copy(update={"metrics": ("psnr", "consistency", "piqe")}))
    assert seen == ids
    assert more.metrics["psnr"] == found.metrics["psnr"]
    assert (more.device, more.precision, found.num_images) == ("cpu", "fp32", NUM)
    shutil.rmtree(published.store.local("evaluations/pictures"))  # what may be deleted at any time
    again = evaluate(published, contender, PSNR.model_copy(update={"metrics": ("ssim_rgb",)}))
    assert seen == ids * 2
    with pytest.raises(ValueError, match=r"judged in precision fp32, .* in precision bf16: judge both alike"):
        compare(published.store, more, again.model_copy(update={"precision": "bf16"}), PSNR)
    with pytest.raises(ValueError, match=r"judged on device cpu, .* on device cuda"):
        compare(published.store, more, again.model_copy(update={"device": "cuda"}), PSNR)


def killed_at(number, function):
    """The function, as if somebody pressed Ctrl-C in its `number`-th call."""
    calls = itertools.count(1)

    def call(*arguments):
        if next(calls) == number:
            raise KeyboardInterrupt
        return function(*arguments)

    return call


def test_what_lq_cannot_confirm_is_less_consistent_than_hq(benchmark, tmp_path):
    """HQ, LQ, a slight blur, and somebody else's person: the recipe makes LQ of HQ alone."""
    config = EvaluateConfig(metrics=("consistency", "psnr"), device="cpu", num_resamples=10)
    blurred = restored_into(tmp_path / "blurred", benchmark, lambda hq: cv2.GaussianBlur(hq, (0, 0), 0.8))
    turned = restored_into(tmp_path / "turned", benchmark, lambda hq: np.ascontiguousarray(hq[::-1]))
    hq, lq = judge_hq(benchmark, config), judge_lq(benchmark, config)
    assert means(hq) == pytest.approx({"consistency": 80, "psnr": 80}, abs=1e-6)
    values = [means(e)["consistency"] for e in (hq, judge_folder(benchmark, blurred, config), lq)]
    values.append(means(judge_folder(benchmark, turned, config))["consistency"])
    assert values == sorted(values, reverse=True)
    assert values[0] > values[1] + 30 > values[3] + 40


def test_metrics_that_disagree_about_the_order_are_named(benchmark, tmp_path):
    """Brightness costs PSNR and leaves every gradient; noise does it the other way round."""
    config = EvaluateConfig(metrics=("psnr", "gmsd"), device="cpu", num_resamples=200)
    rng = np.random.default_rng(0)
    brighter = restored_into(tmp_path / "brighter", benchmark, lambda hq: cv2.add(hq, (24, 24, 24, 0)))
    noisy = restored_into(
        tmp_path / "noisy", benchmark, lambda hq: np.clip(hq + rng.normal(0, 16, hq.shape), 0, 255).astype(np.uint8)
    )
    a, b = (judge_folder(benchmark, folder, config) for folder in (noisy, brighter))
    comparison = judge_pair(benchmark, a, b, config)
    (found,) = comparison.disagreements
    assert (found.for_a, found.for_b, found.certain, found.num) == ("psnr", "gmsd", True, NUM)
    assert found.share > 0.7
    table = published_at(str(benchmark)).store.local(comparison.path) / "table.md"
    assert "- psnr says A, gmsd says B, both beyond their intervals: they differ on" in table.read_text()
    assert judge_pair(benchmark, a, a, config).disagreements == ()


def test_psnr_and_ssim_in_rgb_are_those_of_scikit_image(metric_weights, pairs):
    restored, hq = ([picture[:96, :96] for picture in side[:3]] for side in pairs)
    psnr, ssim = (measure_pairs(metric, restored, hq, "cpu", 8) for metric in ("psnr_rgb", "ssim_rgb"))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    for i, (a, b) in enumerate(zip(restored, hq, strict=True)):
        assert psnr[i] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), abs=1e-3)
        whole = structural_similarity(a, b, full=True, channel_axis=2, **options)[1]
        assert ssim[i] == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-3)


def test_the_newer_metrics_are_there_by_name():
    names = ("topiq_nr", "topiq_fr", "liqe", "ilniqe", "hyperiqa", "tres", "psnr_rgb", "ssim_rgb", "consistency")
    assert EvaluateConfig(metrics=names).metrics == names
    assert [needed_by(name) for name in names] == [None, "hq", None, None, None, None, "hq", "hq", "recipe"]
    assert [lower_is_better(name) for name in names] == [name == "ilniqe" for name in names]
    for spelt, name in (("IL-NIQE", "ilniqe"), ("TOPIQ-NR", "topiq_nr"), ("HyperIQA", "hyperiqa")):
        with pytest.raises(ValueError, match=f"there is no metric {spelt}; try {name}$"):
            checked_name(spelt)


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
    assert (evaluation.num_images, evaluation.num_failed, evaluation.metrics["psnr"].num) == (NUM, 3, NUM - 3)
    assert evaluation.headline == f"{NUM - 3} of {NUM} pictures"
    failures = per_image(published_at(str(benchmark)).store, evaluation).to_pylist()
    told = {row["crop_id"]: row["failure"] for row in failures if row["failure"]}
    assert told == {
        first.stem: "no picture of it in peer",
        second.stem: f"{second.name}: the file is no picture of a format that is read (starts with b'no pictu')",
        third.stem: "the picture is 50x40 px, not 96x96",
    }


@pytest.mark.parametrize(
    "names",
    [
        *("{id}_out.png", "{id}_SwinIR.png", "{id}_0.png", "{id}x4.png", "{id}_x4_HAT_SRx4.png", "{id}.lq_out.png"),
        *("{id}_upscayl_4x_realesrgan-x4plus.png", "{id}.png_SwinIR.png", "003_{id}-restored.PNG", "{id}.webp"),
    ],
)
def test_whatever_a_program_adds_to_the_name_the_picture_is_that_of_its_crop(benchmark, tmp_path, names):
    folder = restored_into(tmp_path / "peer", benchmark, names=names)
    evaluation = judge_folder(benchmark, folder, PSNR)
    assert evaluation.metrics["psnr"].mean > 70 - 30 * names.endswith("webp")
    assert (evaluation.num_failed, evaluation.remarks) == (0, ())


def test_jpegs_are_pictures_too(benchmark, tmp_path):
    folder = restored_into(tmp_path / "peer", benchmark, names="{id}.jpg")
    evaluation = judge_folder(benchmark, folder, PSNR)
    assert (evaluation.num_failed, evaluation.metrics["psnr"].mean > 35) == (0, True)


@pytest.mark.parametrize(
    ("stem", "held"),
    [
        ("img_1", ["img_1"]),
        ("img_1_out", ["img_1"]),  # the widest, not `img`
        ("img_2_out", ["img"]),
        ("10_out", ["10"]),
        ("11_out", []),  # not `1`
        ("10x4", ["10"]),
        ("10x4b", []),
        ("img_1 vs 10", ["10", "img_1"]),
        ("imgs", []),
        ("Mu\u0308ller_out", ["M\u00fcller"]),
    ],
)
def test_an_id_in_a_name_ends_where_letters_and_digits_do(stem, held):
    assert ids_in(stem, {"img", "img_1", "1", "10", "M\u00fcller"}) == held


def test_only_pictures_without_any_id_are_taken_in_order_and_that_is_said(benchmark, tmp_path):
    named = restored_into(tmp_path / "named", benchmark)
    numbered = restored_into(tmp_path / "numbered", benchmark, names="{i}.png")  # 10 comes after 9
    (numbered / "._0.png").write_bytes(b"what macOS leaves")
    (numbered / "Thumbs.db").write_bytes(b"what Windows leaves")
    found = judge_folder(benchmark, numbered, PSNR)
    assert means(judge_folder(benchmark, named, PSNR)) == means(found)
    assert found.remarks == ("no name in numbered holds a crop id: the files were taken in order of their names",)
    store = published_at(str(benchmark)).store
    assert found.remarks[0] in (store.local(found.path) / "table.md").read_text()
    (numbered / "0.png").unlink()
    with pytest.raises(ValueError, match=rf"{NUM - 1} files are not as many"):
        judge_folder(benchmark, numbered, PSNR)


def test_nothing_is_guessed_where_names_leave_it_open(benchmark, tmp_path):
    folder = restored_into(tmp_path / "peer", benchmark, names="{id}_out.png")
    (folder / "grid.png").write_bytes(b"of no crop")
    assert judge_folder(benchmark, folder, PSNR).remarks == ("1 file of no crop in peer: grid.png",)
    first, second = sorted(folder.glob("c*.png"))[:2]
    (folder / f"{first.stem}_again.png").write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match=f"{first.name} and {first.stem}_again.png in .* both show {first.stem[:-4]}"):
        judge_folder(benchmark, folder, PSNR)
    (folder / f"{first.stem}_again.png").rename(folder / f"{first.stem}_{second.stem}.png")
    with pytest.raises(ValueError, match="holds the names of two pictures"):
        judge_folder(benchmark, folder, PSNR)
    (tmp_path / "above/samples").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"holds no picture .* it has the folders samples"):
        judge_folder(benchmark, tmp_path / "above", PSNR)


def test_few_pictures_have_no_interval_and_decide_nothing(benchmark, tmp_path, capsys):
    whole = restored_into(tmp_path / "whole", benchmark, lambda hq: cv2.GaussianBlur(hq, (0, 0), 3))
    few = restored_into(tmp_path / "few", benchmark)
    for path in sorted(few.glob("*.png"))[1:]:
        path.unlink()
    a, b = (judge_folder(benchmark, folder, PSNR) for folder in (few, whole))
    assert (a.headline, a.metrics["psnr"].low, a.metrics["psnr"].high) == (f"1 of {NUM} pictures", None, None)
    difference = judge_pair(benchmark, a, b, PSNR).differences["psnr"]
    assert (difference.num, difference.low, difference.better) == (1, None, None)
    assert difference.mean > 30
    assert evaluate_and_show(str(few), str(whole), benchmark, PSNR) == ExitCode.NOT_IN_ORDER
    shown = " ".join(capsys.readouterr().out.split())
    assert f"1 of {NUM} pictures and {NUM} pictures" in shown
    assert f"few: {NUM - 1} of {NUM} pictures are missing or cannot be used" in shown
    assert "fewer than 20 pictures give no interval and decide nothing" in shown
    assert evaluate_and_show(str(whole), None, benchmark, PSNR) == ExitCode.SUCCESS


def test_a_metric_without_weights_is_unavailable_or_in_strict_mode_an_error(benchmark, monkeypatch):
    def missing(name):
        if name == "musiq":
            raise WeightsUnavailableError("weights of metric musiq are not here")
        return weights_files(name)

    monkeypatch.setattr("tasks.evaluate.evaluate.weights_files", missing)
    config = EvaluateConfig(metrics=("musiq", "psnr"), device="cpu", num_resamples=10)
    evaluation = judge_lq(benchmark, config)
    assert evaluation.metrics["musiq"].unavailable == "weights of metric musiq are not here"
    assert evaluation.metrics["psnr"].num == NUM
    table = published_at(str(benchmark)).store.local(evaluation.path) / "table.md"
    assert "- musiq: weights of metric musiq are not here" in table.read_text()
    with pytest.raises(WeightsUnavailableError):
        judge_lq(benchmark, config.model_copy(update={"seed": 1}), strict=True)


def test_values_stand_under_the_hash_of_the_weights_that_gave_them(benchmark, metric_weights, tmp_path, monkeypatch):
    import pyiqa.utils.download_util

    def in_a_new_process():
        iqa._create.cache_clear()
        found = judge_lq(benchmark, EvaluateConfig(metrics=("brisque",), device="cpu", num_resamples=10))
        return found.weights["brisque"]["brisque_svm_weights.pth"], means(found)["brisque"]

    name = "brisque_svm_weights.pth"
    original, weights = metric_weights / "hub/pyiqa" / name, tmp_path / name
    monkeypatch.setattr(pyiqa.utils.download_util, "DEFAULT_CACHE_DIR", str(tmp_path))
    weights.write_bytes(original.read_bytes())
    before = in_a_new_process()
    exchanged = torch.load(weights, weights_only=True)
    exchanged[0 if isinstance(exchanged, list | tuple) else next(iter(exchanged))].mul_(0.5)
    times = weights.stat()
    torch.save(exchanged, weights)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps times has them
    after = in_a_new_process()
    assert before[0] == sha256_of_file(original) != after[0] == sha256_of_file(weights)
    assert before[1] != pytest.approx(after[1], rel=1e-3)
    weights.write_bytes(original.read_bytes())
    assert in_a_new_process() == before
    iqa._create.cache_clear()


def test_unknown_metrics_are_refused_with_names_that_are_close():
    with pytest.raises(ValueError, match="there is no metric niqee; try niqe"):
        EvaluateConfig(metrics=("niqee",))
    with pytest.raises(ValueError, match="metric sfid is not offered"):
        EvaluateConfig(metrics=("sfid",))


@pytest.mark.parametrize(("num", "covered"), [(3, 0.69), (5, 0.79), (20, 0.90), (200, 0.94)])
def test_the_bootstrap_covers_the_mean_as_rarely_as_its_limit_says(num, covered):
    """Of 400 samples of exponential values; from MIN_VALUES on it is right about nine times of ten."""
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.exponential(1.0, num), 400, seed=i) for i in range(400)]
    assert np.mean([low <= 1.0 <= high for low, high in intervals]) == pytest.approx(covered, abs=0.04)


def test_lpips_is_alexnet(metric_weights):
    assert load_metric("lpips", "cpu").net.net.__class__.__name__ == "alexnet"
    assert any(name.startswith("alexnet") for name in weights_of("lpips"))
    assert json.dumps(weights_of("psnr")) == "{}"
