import numpy as np
import pytest
import torch

from benchmarks import small_base
from model.network.base import load_base


def test_a_cut_training_of_the_base_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr(small_base, "SAVE_EVERY", 2)

    def trained(folder, stop_at=None):
        torch.manual_seed(0)
        network = torch.nn.Conv2d(3, 3, 3)

        def loss(step):
            if step == stop_at:
                raise KeyboardInterrupt
            pictures = small_base.some_squares(crops, step, 4, 16)
            return (network(pictures) - pictures[:, :, 1:-1, 1:-1]).square().mean()

        small_base.fit("conv", network, loss, 6, folder)
        return network.state_dict()

    crops = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)
    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", stop_at=3)
    resumed = trained(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_small_base_is_one_that_osdhuman_opens(tmp_path):
    small_base.new_vae().save_pretrained(tmp_path / "vae")
    small_base.new_unet().save_pretrained(tmp_path / "unet")
    small_base.schedule().save_pretrained(tmp_path / "scheduler")
    base = load_base(str(tmp_path))
    latent = base.vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mean
    prompt = torch.zeros(1, small_base.PROMPT_TOKENS, small_base.PROMPT_DIM)
    assert base.unet(latent, 999, prompt).sample.shape == latent.shape == (1, small_base.LATENT_CHANNELS, 32, 32)
