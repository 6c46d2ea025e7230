"""One U-Net that plays three parts equals three U-Nets, and the losses of the parts stay apart."""

import copy

import pytest
import torch

from model.network.adapters import GENERATOR, REGULARIZER, activate, active_adapter, require_active
from model.network.generator import build_generator
from model.training.losses import draw, generator_loss
from model.training.regularizer import Regularizer, Vsd
from model.training.train_config import LossConfig

WITHOUT_LPIPS = LossConfig(lpips=0)


def perturbed(parameters, seed):
    """LoRA begins without effect: give it one."""
    random = torch.Generator().manual_seed(seed)
    for parameter in parameters.values():
        parameter.data += 0.03 * torch.randn(parameter.shape, generator=random)


@pytest.fixture
def networks(tiny_network):
    generator = build_generator(tiny_network)
    regularizer = Regularizer(generator)
    perturbed(generator.trainable_parameters(), 1)
    perturbed(regularizer.trainable_parameters(), 2)
    return generator, regularizer


@pytest.fixture
def batch():
    torch.manual_seed(0)
    lq, hq = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    return lq, hq, draw(0, 1, ["a", "b"], (4, 8, 8), torch.device("cpu"))


def gradients(parameters):
    return {name: None if p.grad is None else p.grad.clone() for name, p in parameters.items()}


def step(generator, regularizer, batch):
    lq, hq, draws = batch
    loss = generator_loss(generator, regularizer, None, WITHOUT_LPIPS, lq, hq, draws)
    require_active(generator.unet, GENERATOR)
    loss.total.backward()
    diffusion = regularizer.diffusion_loss(loss.z_h, loss.prompt, draws.diffusion_noise, draws.diffusion_t)
    diffusion.backward()
    return loss, diffusion


class ThreeUnets(Regularizer):
    """The same losses, with U-Nets of their own for the finetuned and the frozen regularizer."""

    def __init__(self, generator, shared):
        torch.nn.Module.__init__(self)
        self.finetuned, self.frozen = copy.deepcopy(generator.unet), copy.deepcopy(generator.unet)
        activate(self.finetuned, REGULARIZER)
        activate(self.frozen, None)
        self.alphas_cumprod, self.dtype = shared.alphas_cumprod, shared.dtype

    def vsd(self, z_h, prompt, noise, t, weight="dmd"):
        with torch.no_grad():
            noised = self._add_noise(z_h, noise, t)
            finetuned, frozen = (
                self._clean(noised, unet(noised, t, encoder_hidden_states=prompt).sample, t)
                for unet in (self.finetuned, self.frozen)
            )
            gradient = (finetuned - frozen) / (z_h - frozen).abs().mean(dim=(1, 2, 3), keepdim=True)
        return Vsd(torch.nn.functional.mse_loss(z_h, (z_h - gradient).detach()), gradient, {})

    def diffusion_loss(self, z_h, prompt, noise, t):
        noised = self._add_noise(z_h.detach(), noise, t)
        predicted = self.finetuned(noised, t, encoder_hidden_states=prompt.detach()).sample
        return torch.nn.functional.mse_loss(predicted, noise)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_one_unet_equals_three(networks, batch, checkpointing):
    generator, regularizer = networks
    other = copy.deepcopy(generator)
    three = ThreeUnets(other, regularizer)
    if checkpointing:
        generator.unet.enable_gradient_checkpointing()
        generator.vae.enable_gradient_checkpointing()
    for _ in range(2):  # the second time begins with the adapter that the first one left active
        (mine, mine_diffusion), (theirs, their_diffusion) = (
            step(generator, regularizer, batch),
            step(other, three, batch),
        )
    assert mine.total.item() == pytest.approx(theirs.total.item(), abs=1e-6)
    assert mine_diffusion.item() == pytest.approx(their_diffusion.item(), abs=1e-6)
    torch.testing.assert_close(mine.restored, theirs.restored, atol=1e-5, rtol=0)
    finetuned = {n: p for n, p in three.finetuned.named_parameters() if f".{REGULARIZER}." in n}
    pairs = [
        (gradients(generator.trainable_parameters()), gradients(other.trainable_parameters())),
        (gradients(regularizer.trainable_parameters()), gradients(finetuned)),
    ]
    for here, there in pairs:
        assert here.keys() == there.keys() and len(here) > 50
        for name, gradient in here.items():
            assert gradient is not None, name
            torch.testing.assert_close(gradient, there[name], atol=1e-5, rtol=1e-4, msg=name)
        assert sum(float(g.abs().sum()) for g in here.values()) > 0.1


def test_each_loss_leaves_no_gradient_in_the_other_part(networks, batch):
    generator, regularizer = networks
    lq, hq, draws = batch
    loss = generator_loss(generator, regularizer, None, WITHOUT_LPIPS, lq, hq, draws)
    loss.total.backward()
    assert all(gradient is None for gradient in gradients(regularizer.trainable_parameters()).values())
    assert all(gradient is not None for gradient in gradients(generator.trainable_parameters()).values())
    generator.zero_grad()
    regularizer.diffusion_loss(loss.z_h, loss.prompt, draws.diffusion_noise, draws.diffusion_t).backward()
    assert all(gradient is None for gradient in gradients(generator.trainable_parameters()).values())
    assert all(gradient is not None for gradient in gradients(regularizer.trainable_parameters()).values())


def test_gradient_of_eq_6_by_hand(networks, batch):
    """From the noise predictions, as the paper writes it, with nothing of the code under test but the U-Net."""
    generator, regularizer = networks
    draws = batch[2]
    z_h = torch.randn(2, 4, 8, 8, requires_grad=True)
    prompt = torch.randn(2, 77, 64)
    vsd = regularizer.vsd(z_h, prompt, draws.vsd_noise, draws.vsd_t)
    vsd.loss.backward()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha_bar = (1 - betas).cumprod(0)[draws.vsd_t].view(-1, 1, 1, 1)
    z_t = alpha_bar.sqrt() * z_h.detach() + (1 - alpha_bar).sqrt() * draws.vsd_noise
    predicted = {}
    for name in (REGULARIZER, None):
        activate(generator.unet, name)
        with torch.no_grad():
            predicted[name] = generator.unet(z_t.float(), draws.vsd_t, encoder_hidden_states=prompt).sample.double()
    clean = (z_t - (1 - alpha_bar).sqrt() * predicted[None]) / alpha_bar.sqrt()
    weight = (z_h.detach() - clean).abs().mean(dim=(1, 2, 3), keepdim=True)
    by_hand = ((1 - alpha_bar) / alpha_bar).sqrt() * (predicted[None] - predicted[REGULARIZER]) / weight
    torch.testing.assert_close(vsd.gradient.double(), by_hand, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(z_h.grad.double(), 2 * by_hand / z_h.numel(), atol=1e-7, rtol=1e-4)
    printed = regularizer.vsd(z_h, prompt, draws.vsd_noise, draws.vsd_t, "printed")
    weight = (predicted[None] - z_h.detach()).abs().mean(dim=(1, 2, 3), keepdim=True)
    as_printed = (predicted[None] - predicted[REGULARIZER]) / weight
    torch.testing.assert_close(printed.gradient.double(), as_printed, atol=1e-5, rtol=1e-4)
    for name, gradient in (("dmd", by_hand), ("printed", as_printed)):
        assert float(vsd.rms[name]) == pytest.approx(float(gradient.square().mean().sqrt()), rel=1e-4)


def test_vsd_vanishes_while_the_regularizers_agree(tiny_network, batch):
    generator = build_generator(tiny_network)
    regularizer = Regularizer(generator)
    lq, hq, draws = batch
    loss = generator_loss(generator, regularizer, None, WITHOUT_LPIPS, lq, hq, draws)
    assert loss.terms["loss/vsd"] == 0
    loss.total.backward()
    assert sum(float(p.grad.abs().sum()) for p in generator.trainable_parameters().values()) > 0


def test_backward_with_the_wrong_adapter_is_refused(networks, batch):
    generator, _ = networks
    activate(generator.unet, REGULARIZER)
    with pytest.raises(AssertionError, match="backward pass of generator while regularizer is active"):
        require_active(generator.unet, GENERATOR)
    activate(generator.unet, None)
    assert active_adapter(generator.unet) is None
