"""Embeddings of whole pictures: the model's own encoder, opened without its base."""

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from model.model_folder import About, save_model
from model.network.embed import picture_embedder
from model.network.generator import build_generator
from model.network.hfie import load_encoder


def test_embeddings_are_what_the_prompt_is_made_of(tiny_network, tmp_path):
    weights = tmp_path / "encoder.safetensors"
    save_file(load_encoder(tiny_network.prompt).state_dict(), weights)
    own = tiny_network.prompt.model_copy(update={"weights": str(weights)})
    generator = build_generator(tiny_network.model_copy(update={"prompt": own}))
    save_model(tmp_path / "model", generator, About())
    pictures = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(3)]
    embed = picture_embedder(tmp_path / "model", "cpu")
    assert embed is not None
    found = embed(pictures)
    for i, picture in enumerate(pictures):
        rgb = torch.from_numpy(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)[None].float() / 127.5 - 1
        seen = generator.embedder.encoder(rgb)[0]
        np.testing.assert_allclose(found[i], seen[1:].mean(0), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_an_encoder_that_knows_no_pictures_gives_none(tiny_network, tmp_path):
    save_model(tmp_path / "model", build_generator(tiny_network), About())
    assert picture_embedder(tmp_path / "model", "cpu") is None
