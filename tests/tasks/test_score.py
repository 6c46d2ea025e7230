import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.network.weights import Compute, WeightsUnavailableError
from storage.report import Tally
from storage.schema import CROPS
from storage.shard import Shard, ShardWriter
from storage.store import Store
from tasks.metrics import iqa
from tasks.metrics.iqa import check_metric, lower_is_better, measure, weights_file, weights_files
from tasks.score.score import ScoreConfig, score_key, score_shard

CLASSICAL = ("niqe", "brisque", "piqe")


def square(photo):
    side = min(photo.shape[:2])
    return cv2.resize(photo[:side, :side], (512, 512), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def pictures(shared_data):
    """Four real pictures, each also blurred, and a black one, by name."""
    sharp = [square(cv2.imread(str(p))) for p in sorted((shared_data / "coco_mini/val2017").glob("*.jpg"))[:4]]
    named = {f"sharp{i}": picture for i, picture in enumerate(sharp)}
    named |= {f"blurred{i}": cv2.GaussianBlur(picture, (0, 0), 2) for i, picture in enumerate(sharp)}
    return named | {"black": np.zeros((512, 512, 3), np.uint8)}


def cropped(folder, pictures):
    shard = Shard(Store(str(folder)), "crop", "test", 0, "crops")
    tally = Tally("crop", "test", ("box",))
    box = [0.0, 0.0, 512.0, 512.0]
    with ShardWriter(shard, crops=CROPS) as out:
        for name, picture in pictures.items():
            tally.enter("box")
            tally.keep("box")
            same = {"crop_id": name, "source": "test", "photo_id": f"photo of {name}", "box_id": "7"}
            size = {"photo_width_px": 512, "photo_height_px": 512, "square_xyxy_px": [0, 0, 512, 512]}
            people = {"person_bbox_xyxy_px": box, "people_bbox_xyxy_px": [box], "num_people": 1, "source_side_px": 512}
            prints = {"laplacian_variance": 1.0, "photo_phash": 0, "crop_phash": 0, "photo_path": f"{name}.jpg"}
            image = {"bytes": cv2.imencode(".png", picture)[1].tobytes(), "path": f"{name}.png"}
            out["crops"].append({"image": image, **same, **size, **people, **prints})
        out.commit(tally.report())
    return shard


def scored(folder, pictures, metrics=CLASSICAL):
    crops = cropped(folder, pictures)
    outs = {
        metric: Shard(crops.store, f"score/{metric}", "test", 0, score_key(crops, metric, check_metric(metric)))
        for metric in metrics
    }
    reports = score_shard(crops, outs, Compute("cpu", num_threads=1))
    assert reports == [out.report() for out in outs.values()]
    return outs


@pytest.fixture(scope="module")
def shards(metric_weights, pictures, tmp_path_factory):
    return scored(tmp_path_factory.mktemp("scored"), pictures)


def values(shard):
    return {row["crop_id"]: row["value"] for row in shard.read("scores").to_pylist()}


@pytest.mark.parametrize("metric", CLASSICAL)
def test_values_are_those_of_pyiqa_itself(shards, pictures, metric, tmp_path):
    import pyiqa

    reference = pyiqa.create_metric(metric, device="cpu")
    found = values(shards[metric])
    for name in ("sharp0", "sharp3", "blurred1"):
        cv2.imwrite(str(tmp_path / "crop.png"), pictures[name])
        assert found[name] == pytest.approx(float(reference(str(tmp_path / "crop.png"))), abs=1e-6)


@pytest.mark.parametrize("metric", CLASSICAL)
def test_a_blurred_crop_scores_worse(shards, metric):
    found = values(shards[metric])
    sign = -1 if lower_is_better(metric) else 1
    assert all(sign * found[f"sharp{i}"] > sign * found[f"blurred{i}"] for i in range(4))


@pytest.mark.parametrize("metric", CLASSICAL)
def test_a_crop_without_a_finite_value_fails_alone(shards, metric):
    (reject,) = shards[metric].read("rejects").to_pylist()
    assert (reject["stage"], reject["item"], reject["outcome"]) == (f"score/{metric}", "crop", "failed")
    assert (reject["reason"], reject["photo_id"], reject["box_id"]) == ("score_not_finite", "photo of black", "7")
    assert "black" in reject["detail"] and metric in reject["detail"]
    counts = shards[metric].report().counts["crop"]
    assert (counts.num_in, counts.num_kept, counts.num_failed) == (9, 8, 1)


def test_values_do_not_depend_on_order(shards, pictures, tmp_path):
    turned = scored(tmp_path, dict(reversed(pictures.items())), metrics=("brisque",))
    assert values(turned["brisque"]) == values(shards["brisque"])


def test_values_of_a_network_do_not_depend_on_the_batch(metric_weights, pictures, monkeypatch):
    import pyiqa

    torch.manual_seed(0)
    network = pyiqa.create_metric("musiq", pretrained=False, device="cpu")
    monkeypatch.setattr(iqa, "load_metric", lambda name, device: network)
    three = [pictures["sharp0"], pictures["black"], pictures["sharp2"]]
    alone = measure("musiq", three, "cpu", batch_size=1)
    assert measure("musiq", three, "cpu", batch_size=16) == pytest.approx(alone, abs=1e-6)
    assert len(set(alone)) == 3


@pytest.mark.parametrize("metric", ["clipiqa", "clipiqa+"])
def test_clipiqas_text_tower_runs_once_and_the_values_stay(metric_weights, pictures, monkeypatch, metric):
    """A small CLIP of random weights in RN50's layout, opened by the function that opens the published file."""
    import pyiqa
    from pyiqa.archs import clip_model, clipiqa_arch

    torch.manual_seed(0)
    small = clip_model.CLIP(
        embed_dim=64, image_resolution=64, vision_layers=(1, 1, 1, 1), vision_width=16, vision_patch_size=None,
        context_length=77, vocab_size=49408, transformer_width=64, transformer_heads=1, transformer_layers=2,
    )  # fmt: skip
    layout = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    monkeypatch.setattr(clipiqa_arch, "load", lambda backbone, device: clip_model.build_model(dict(layout)).float())
    if metric == "clipiqa+":  # the learned prompts are a file of their own
        prompts = torch.randn(2, 16, 64)
        monkeypatch.setattr(clipiqa_arch, "load_file_from_url", lambda url: "prompts")
        monkeypatch.setattr(clipiqa_arch.torch, "load", lambda path, weights_only: prompts)
    reference = pyiqa.create_metric(metric, device="cpu")
    iqa._create.cache_clear()
    ours = iqa.load_metric(metric, "cpu")
    calls = []
    ours.net.clip_model[0].transformer.register_forward_hook(lambda *_: calls.append(1))
    some = [cv2.resize(picture, (96, 96)) for picture in pictures.values()]
    expected = [float(reference(iqa.to_tensor([picture]))) for picture in some]
    for batch_size in (1, 4):
        assert measure(metric, some, "cpu", batch_size) == pytest.approx(expected, abs=1e-6)
    assert len(calls) == 1 and len(set(expected)) == len(expected)
    iqa._create.cache_clear()


def test_weights_files_are_named_with_their_hashes(metric_weights):
    (sha256,) = check_metric("niqe").values()
    assert list(check_metric("niqe")) == ["niqe_modelparameters.mat"] and len(sha256) == 64
    assert list(check_metric("brisque")) == ["brisque_svm_weights.pth"]
    assert check_metric("piqe") == {}


@pytest.mark.parametrize(
    ("metric", "file", "words"),
    [
        ("brisque", "brisque_svm_weights.pth", "cannot be used"),
        ("musiq", "musiq_koniq_ckpt-e95806b9.pth", "not the published one"),
    ],
)
def test_planted_code_is_refused_and_does_not_run(
    metric_weights, monkeypatch, tmp_path, runs_code, metric, file, words
):
    import pyiqa.utils.download_util

    monkeypatch.setattr(pyiqa.utils.download_util, "DEFAULT_CACHE_DIR", str(tmp_path))
    iqa._create.cache_clear()
    proof = tmp_path / "code ran"
    torch.save(runs_code(proof), tmp_path / file)
    with pytest.raises(WeightsUnavailableError, match=words):
        check_metric(metric)
    assert not proof.exists()


@pytest.mark.parametrize("metric", ["clipiqa", "maniqa-pipal", "musiq"])
def test_missing_weights_are_told_in_one_quick_sentence(metric_weights, no_network, monkeypatch, tmp_path, metric):
    import pyiqa.utils.download_util

    monkeypatch.setattr(pyiqa.utils.download_util, "DEFAULT_CACHE_DIR", str(tmp_path))
    with pytest.raises(WeightsUnavailableError) as error:
        check_metric(metric)
    assert sum(no_network) < 15
    assert all(words in str(error.value) for words in (metric, "could not be downloaded", "put the file into"))
    assert "\n" not in str(error.value)


def test_directions():
    assert all(lower_is_better(name) for name in ("niqe", "brisque", "piqe", "ilniqe", "pi", "lpips", "dists", "dmm"))
    assert not any(lower_is_better(name) for name in ("clipiqa", "maniqa-pipal", "musiq", "topiq_nr", "psnr", "ssim"))


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (("musik",), "there is no metric musik; try musiq"),
        (("lpips",), "lpips needs a reference"),
        (("entropy",), "noise raises it"),
        (("fid",), "a set of pictures"),
        (("niqe", "niqe"), "named twice"),
        ((), "at least 1"),
    ],
)
def test_a_metric_that_cannot_judge_crops_is_refused(metrics, words):
    with pytest.raises(ValidationError, match=words):
        ScoreConfig(metrics=metrics)


def test_the_papers_metrics_by_default():
    assert ScoreConfig().metrics == ("clipiqa", "maniqa-pipal", "musiq", "niqe")


def test_the_file_that_is_looked_for_before_a_run_is_the_one_that_the_metric_opens(metric_weights):
    for name in ("niqe", "brisque"):
        assert [file.name for file in weights_files(name)] == [weights_file(name).name]
        assert weights_file(name).is_file()
    assert weights_file("piqe") is None and weights_file("musiq").name == "musiq_koniq_ckpt-e95806b9.pth"
