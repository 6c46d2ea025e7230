"""Draws that depend on the crop alone, and eq. 4 with the real LPIPS."""

import pytest
import torch

from model.network.generator import build_generator
from model.network.weights import WeightsUnavailableError
from model.training.losses import draw, generator_loss, load_lpips
from model.training.regularizer import Regularizer
from model.training.train_config import LossConfig

SHAPE = (4, 8, 8)
CPU = torch.device("cpu")


def test_draws_depend_on_seed_step_and_crop_but_not_on_the_batch():
    together, alone = draw(0, 5, ["a", "b", "c"], SHAPE, CPU), draw(0, 5, ["b"], SHAPE, CPU)
    for field in ("posterior", "vsd_noise", "vsd_t", "diffusion_noise", "diffusion_t"):
        assert torch.equal(getattr(together, field)[1:2], getattr(alone, field))
    for other in (draw(1, 5, ["b"], SHAPE, CPU), draw(0, 6, ["b"], SHAPE, CPU), draw(0, 5, ["c"], SHAPE, CPU)):
        assert not torch.equal(other.posterior, alone.posterior)


def test_draws_have_the_papers_ranges():
    many = draw(0, 0, [f"crop-{i}" for i in range(4000)], (1, 4, 4), CPU)
    assert 20 <= many.vsd_t.min() < 30 and 970 < many.vsd_t.max() < 980
    assert 0 <= many.diffusion_t.min() < 5 and 994 < many.diffusion_t.max() < 1000
    for noise in (many.posterior, many.vsd_noise, many.diffusion_noise):
        assert abs(float(noise.mean())) < 0.02 and float(noise.std()) == pytest.approx(1, abs=0.02)
    assert abs(float((many.vsd_noise * many.diffusion_noise).mean())) < 0.02


def test_eq_4_is_the_sum_of_its_weighted_terms(tiny_network, lpips_weights):
    generator = build_generator(tiny_network)
    regularizer = Regularizer(generator)
    for parameter in regularizer.trainable_parameters().values():
        parameter.data += 0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    lpips = load_lpips("vgg")
    lq, hq = torch.rand(2, 1, 3, 64, 64) * 2 - 1
    loss = generator_loss(generator, regularizer, lpips, LossConfig(), lq, hq, draw(0, 0, ["a"], SHAPE, CPU))
    terms = loss.terms
    assert terms["loss/mse"] == pytest.approx(float((loss.restored.detach() - hq).square().mean()), rel=1e-6)
    assert terms["loss/lpips"] == pytest.approx(float(lpips(loss.restored.detach(), hq).mean()), rel=1e-5)
    assert terms["loss/vsd"] == pytest.approx(float(loss.vsd_gradient.square().mean()), rel=1e-5)
    total = terms["loss/mse"] + 2 * terms["loss/lpips"] + terms["loss/vsd"]
    assert float(loss.total.detach()) == pytest.approx(float(total), rel=1e-6)
    loss.total.backward()
    assert -1 <= loss.vsd_cosine()["vsd/cosine"] <= 1
    assert all(p.grad is None for p in lpips.parameters())


def test_lpips_that_cannot_be_had_is_told_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("urllib.request._opener", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(WeightsUnavailableError, match="the vgg network of LPIPS cannot be had"):
        load_lpips("vgg")
