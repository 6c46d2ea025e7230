"""Small networks of the real classes, made once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.model_folder import About, save_model
from model.network.generator import build_generator
from model.network.network_config import HfieConfig, NetworkConfig, SwinConfig
from model.tiny_base import make_tiny_base

TINY_SWIN = SwinConfig(
    image_side_px=64, window=4, width=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), embedding_dim=32
)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def tiny_network(tiny_base) -> NetworkConfig:
    return NetworkConfig(base=str(tiny_base), prompt=HfieConfig(weights="random", swin=TINY_SWIN))


@pytest.fixture(scope="session")
def tiny_model(tiny_network, tmp_path_factory):
    """A model folder whose adapters have an effect."""
    generator = build_generator(tiny_network)
    torch.manual_seed(1)
    for value in generator.trainable_parameters().values():
        value.data.add_(0.02 * torch.randn_like(value))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, generator, About(step=3))
    return folder


@pytest.fixture(scope="session")
def lpips_weights(shared_tools) -> Path:
    """A TORCH_HOME with the real VGG16 of LPIPS."""
    cache = Path(os.environ.get("PERSONA_TEST_CACHE") or Path.home() / ".cache" / "personaforge-tests")
    done = subprocess.run([sys.executable, shared_tools / "seed_weights.py", cache], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    os.environ["TORCH_HOME"] = str(cache)
    return cache
