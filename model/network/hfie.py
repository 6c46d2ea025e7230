"""The prompt: HFIE, which embeds the LQ picture (section 3.2, eq. 5), or one fixed embedding (the ablation)."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from model.network.network_config import HfieConfig, NullPromptConfig, SwinConfig
from model.network.weights import WeightsUnavailableError
from storage.digest import sha256_of_file
from storage.errors import InputError

_MEAN_RGB = (0.485, 0.456, 0.406)
_STD_RGB = (0.229, 0.224, 0.225)


class ImageEncoder(nn.Module):
    """RAM's image encoder: a Swin Transformer and one linear layer, without the tagging head; always frozen."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.side_px = config.image_side_px
        self.swin = SwinTransformer(
            img_size=config.image_side_px,
            patch_size=config.patch_px,
            window_size=config.window,
            embed_dim=config.width,
            depths=config.depths,
            num_heads=config.num_heads,
            num_classes=0,
            drop_path_rate=0.0,
        )
        self.image_proj = nn.Linear(self.swin.num_features, config.embedding_dim)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, 1 + tokens, embedding_dim) of pictures (B, 3, H, W), RGB in [-1, 1].

        Token 0 is the average of the others, as in RAM: with Swin-L 145 x 512.
        """
        side = (self.side_px, self.side_px)
        picture = F.interpolate(lq.float(), side, mode="bicubic", antialias=True, align_corners=False)
        mean, std = picture.new_tensor(_MEAN_RGB), picture.new_tensor(_STD_RGB)
        picture = ((picture.clamp(-1, 1) + 1) / 2 - mean[:, None, None]) / std[:, None, None]
        features = self.swin.forward_features(picture.to(self.image_proj.weight.dtype))
        local = features.flatten(1, 2)  # (B, rows, columns, C) → (B, tokens, C)
        return self.image_proj(torch.cat([local.mean(1, keepdim=True), local], dim=1))


class Hfie(nn.Module):
    """p = MHA(Q, E, E): learned queries attend to the embeddings of the LQ picture (eq. 5)."""

    def __init__(self, config: HfieConfig, encoder: ImageEncoder, prompt_dim: int) -> None:
        super().__init__()
        if prompt_dim % config.num_heads:
            raise InputError(f"prompt.num_heads {config.num_heads} does not divide the prompt's dimension {prompt_dim}")
        self.encoder = encoder
        self.queries = nn.Parameter(torch.randn(config.num_queries, prompt_dim) * config.query_std)
        self.attention = nn.MultiheadAttention(
            prompt_dim,
            config.num_heads,
            kdim=config.swin.embedding_dim,
            vdim=config.swin.embedding_dim,
            batch_first=True,
        )
        self.norm: nn.Module = nn.LayerNorm(prompt_dim) if config.layer_norm else nn.Identity()

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        """The prompt (B, queries, prompt_dim) in fp32 of pictures (B, 3, H, W), RGB in [-1, 1]."""
        embeddings = self.encoder(lq).float()
        queries = self.queries.expand(len(lq), -1, -1)
        prompt, _ = self.attention(queries, embeddings, embeddings, need_weights=False)
        return self.norm(prompt)


class NullPrompt(nn.Module):
    """The same prompt for every picture; saved with the model, so that its file is needed only once."""

    prompt: torch.Tensor

    def __init__(self, prompt: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("prompt", prompt.float())

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        """The prompt (B, tokens, prompt_dim) in fp32, whatever the pictures (B, 3, H, W)."""
        return self.prompt.expand(len(lq), -1, -1)


def load_encoder(config: HfieConfig) -> ImageEncoder:
    """The frozen encoder, fp32.

    Raises:
        WeightsUnavailableError: its file is missing, cut or of another size of network.
    """
    if config.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.random_seed)
            return ImageEncoder(config.swin).eval()
    path = Path(config.weights)
    if not path.is_file():
        raise WeightsUnavailableError(
            f"image encoder {path} is not there: convert RAM's checkpoint with `python -m model.ram "
            f"ram_swin_large_14m.pth {path}`, or name its place in network.prompt.weights"
        )
    encoder = ImageEncoder(config.swin)
    try:
        encoder.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        detail = " ".join(str(error).split())[:200]
        raise WeightsUnavailableError(
            f"image encoder {path} does not fit network.prompt.swin ({detail}): convert it again with model.ram"
        ) from error
    return encoder.eval()


def encoder_hash(config: HfieConfig, encoder: ImageEncoder) -> str:
    """SHA-256 of the encoder's file; of random weights, of the tensors that the seed gave here."""
    if config.weights != "random":
        return sha256_of_file(Path(config.weights))
    sha256 = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        sha256.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return sha256.hexdigest()


def load_null_prompt(config: NullPromptConfig, prompt_dim: int) -> NullPrompt:
    """The fixed prompt of a file.

    Raises:
        WeightsUnavailableError: the file is missing or no safetensors.
        ValueError: its tensor does not fit the U-Net.
    """
    try:
        prompt = load_file(config.prompt)["prompt"]
    except (OSError, KeyError, SafetensorError) as error:
        raise WeightsUnavailableError(
            f"network.prompt.prompt {config.prompt} is no safetensors file with a tensor `prompt`: save the text "
            "encoder's output for a single space there"
        ) from error
    if prompt.ndim != 2 or prompt.shape[1] != prompt_dim:
        raise InputError(
            f"the prompt in {config.prompt} is {tuple(prompt.shape)}, the U-Net takes (tokens, {prompt_dim})"
        )
    return NullPrompt(prompt)
