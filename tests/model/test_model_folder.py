"""A model folder is whole or not there, and gives back the very model that was saved."""

import json

import pytest
import torch

from model.model_folder import ABOUT, TENSORS, About, load_model, new_folder, read_about, save_model
from model.network.generator import build_generator
from model.network.network_config import AdapterConfig
from model.tiny_base import make_tiny_base
from model.training.regularizer import Regularizer

LQ = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def saved(tiny_network, tmp_path):
    """A folder, and the picture that its model makes."""
    # An alpha unlike the default, which peft would silently put in its place.
    config = tiny_network.model_copy(update={"unet": AdapterConfig(rank=3, alpha=5)})
    generator = build_generator(config)
    Regularizer(generator)
    for parameter in generator.trainable_parameters().values():
        parameter.data += 0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7))
    save_model(tmp_path / "model", generator, About(snapshot={"id": "s", "path": "p", "digest": "d"}, step=12))
    with torch.no_grad():
        return tmp_path / "model", generator(LQ)


def test_the_same_model_comes_back(saved):
    folder, restored = saved
    with torch.no_grad():
        assert torch.equal(load_model(folder, "cpu")(LQ), restored)
    about = read_about(folder)
    assert (about["kind"], about["format_version"], about["step"], about["snapshot"]["id"]) == ("osdhuman", 1, 12, "s")
    assert {path.name for path in folder.iterdir()} == {ABOUT, TENSORS}


def test_neither_the_regularizer_nor_anything_frozen_is_saved(saved):
    from safetensors.torch import load_file

    names = set(load_file(saved[0] / TENSORS))
    assert not any("regularizer" in name or "encoder.swin" in name for name in names)
    assert all(".lora_" in name or name.startswith("embedder.") for name in names)


def test_one_flipped_bit_is_noticed(saved):
    content = bytearray((saved[0] / TENSORS).read_bytes())
    content[-5] ^= 1
    (saved[0] / TENSORS).write_bytes(content)
    with pytest.raises(ValueError, match="was changed after it was written"):
        load_model(saved[0], "cpu")


def test_another_base_is_noticed(saved, tmp_path):
    about = json.loads((saved[0] / ABOUT).read_text())
    about["network"]["base"] = str(make_tiny_base(tmp_path / "other", seed=1))
    (saved[0] / ABOUT).write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"was trained on another base: unet/diffusion_pytorch_model.safetensors"):
        load_model(saved[0], "cpu")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format_version": 2}, "in format 2; this version reads osdhuman, format 1"),
        ({"network": {"base": 3}}, "describes a network that this version does not know"),
        ({"files": {"../../etc/passwd": {"bytes": 1, "sha256": ""}}}, "is missing or cut"),
    ],
)
def test_what_is_no_model_is_told_in_one_sentence(saved, change, sentence):
    about = json.loads((saved[0] / ABOUT).read_text())
    (saved[0] / ABOUT).write_text(json.dumps(about | change))
    with pytest.raises(ValueError, match=sentence):
        load_model(saved[0], "cpu")


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"is no model folder: it has no model\.json"):
        read_about(tmp_path)


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "model") as aside:
        (aside / "part").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "model").mkdir()
    with pytest.raises(FileExistsError, match="already there"), new_folder(tmp_path / "model"):
        pass
