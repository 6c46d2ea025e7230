"""What a model's image encoder sees in whole pictures: pictures that look alike get embeddings that are alike."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from model.model_folder import read_about
from model.network.hfie import load_encoder
from model.network.network_config import HfieConfig, NetworkConfig
from model.network.weights import Device, resolve_device

Embed = Callable[[Sequence[np.ndarray]], np.ndarray]
"""(H, W, 3) uint8 BGR pictures, all of one size → (N, embedding_dim) float32."""


def picture_embedder(folder: Path, device: Device = "auto") -> Embed | None:
    """The average embedding of a model folder's encoder; only the encoder is opened, not its base.

    None where the model has no encoder that knows pictures: random weights, or a fixed prompt.

    Raises:
        ValueError: the folder is no model, or was changed.
        WeightsUnavailableError: the encoder's file is missing or broken.
    """
    config = NetworkConfig.model_validate(read_about(folder)["network"]).prompt
    if not isinstance(config, HfieConfig) or config.weights == "random":
        return None
    place = resolve_device(device)
    encoder = load_encoder(config).to(place)

    def embed(pictures: Sequence[np.ndarray]) -> np.ndarray:
        rgb = np.stack([cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) for picture in pictures])
        batch = torch.from_numpy(rgb).permute(0, 3, 1, 2).float().to(place) / 127.5 - 1
        return encoder(batch)[:, 0].float().cpu().numpy()  # token 0 is the average of all others

    return embed
