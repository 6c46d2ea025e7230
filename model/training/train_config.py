"""How a model is trained; read without importing torch.

What changes the weights by no more than the rounding of sums, such as accumulation, is marked HOW: a run may go on with
another value.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from model.data.degradation import DegradationConfig
from model.network.network_config import NetworkConfig
from model.network.weights import Device
from storage.digest import digest
from storage.frozen import HOW, Frozen

Fraction = Annotated[float, Field(ge=0, lt=1)]


class LossConfig(Frozen):
    """Weights of eq. 4; a term of weight 0 is not computed."""

    mse: NonNegativeFloat = 1.0
    """Mean squared error of the pictures in [-1, 1]."""
    lpips: NonNegativeFloat = 2.0
    """Perceptual distance."""
    lpips_net: Literal["vgg", "alex"] = "vgg"
    """Network of LPIPS; assumption: the paper does not name it. alex needs a fortieth of the work."""
    vsd: NonNegativeFloat = 1.0
    """Variational score distillation."""
    vsd_weight: Literal["dmd", "printed"] = "dmd"
    """How much each t counts in eq. 6: `dmd` compares clean latents as DMD and OSEDiff do, `printed` the predicted
    noise as the paper's formula has it. curves.jsonl has the size of the gradient under both."""


class TrainConfig(Frozen):
    """One training run; the defaults are the paper's."""

    name: Annotated[str, HOW] = "osdhuman"
    """What the model is called."""
    output: Annotated[Path, HOW]
    """Folder for checkpoints, curves and the result; a run has one of its own."""
    snapshot: Annotated[Path, HOW]
    """Folder of a published snapshot; its train split is learned from, and counts by its content."""
    warm_start: Annotated[Path | None, HOW] = None
    """Model folder whose trained tensors are the start, instead of adapters without effect; counts by its content."""
    network: NetworkConfig = NetworkConfig()
    """What is trained."""
    degradation: DegradationConfig = DegradationConfig()
    """How LQ pictures are made of the crops."""
    losses: LossConfig = LossConfig()
    """What is minimised."""
    side_px: PositiveInt = 512
    """Side of the crops that are trained on."""
    steps: PositiveInt = 35_000
    """Updates of the generator, each followed by one of the finetuned regularizer."""
    batch_size: PositiveInt = 16
    """Crops per update over all devices: the same run on one device or many, up to rounding."""
    accumulation: Annotated[PositiveInt, HOW] = 1
    """Parts that a device's share of a batch is worked on in, one after another, to save memory."""
    learning_rate: PositiveFloat = 5e-5
    """Of both AdamW optimizers."""
    warmup_steps: NonNegativeInt = 0
    """Updates over which the learning rate rises linearly."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """What the learning rate does after the warm-up: it stays, or falls to 0 at the last step."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Of AdamW."""
    weight_decay: NonNegativeFloat = 0.01
    """Of AdamW; assumption."""
    ema_decay: Fraction = 0.0
    """Above 0, such as 0.999: what a checkpoint's model holds, and evaluation judges, is the moving average of what is
    trained instead of the last update; early ones forget faster, by (1 + step) / (10 + step)."""
    max_gradient_norm: PositiveFloat = 1.0
    """Gradients of generator and regularizer are each scaled down to this norm; assumption."""
    max_skipped: NonNegativeInt = 3
    """Updates in a row that are left out because a loss or a gradient is not finite, before the run stops."""
    seed: NonNegativeInt = 0
    """Decides initial weights, order, flips, degradations and noise."""
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Of frozen weights and of the work; what is trained stays in fp32."""
    gradient_checkpointing: Annotated[bool, HOW] = True
    """Compute activations again in the backward pass: a third more work for a fraction of the memory."""
    channels_last: Annotated[bool, HOW] = True
    """Memory layout of the convolutions; faster on CPUs and tensor cores."""
    compile: Annotated[bool, HOW] = False
    """Run U-Net and VAE through torch.compile; minutes at the start, which pay on a GPU only."""
    device: Annotated[Device, HOW] = "auto"
    """Where to train; auto takes a GPU if there is one."""
    num_workers: Annotated[NonNegativeInt, HOW] = 2
    """Processes per device that read, degrade and flip crops."""
    log_every: Annotated[PositiveInt, HOW] = 10
    """Updates between two lines of curves.jsonl."""
    grid_every: Annotated[PositiveInt, HOW] = 500
    """Updates between two pictures LQ | restored | HQ."""
    checkpoint_every: Annotated[PositiveInt, HOW] = 1000
    """Updates between two checkpoints."""
    keep_checkpoints: Annotated[PositiveInt, HOW] = 3
    """The last ones that stay."""

    def identity(self) -> dict[str, Any]:
        """What decides the weights after every step; the number of steps only where the learning rate depends on it."""
        return {key: value for key, value in self.content().items() if key != "steps" or self.decay != "constant"}

    def fingerprint(self, snapshot_digest: str, warm_start_digest: str | None) -> str:
        """Snapshot, start and `identity` in 12 hexadecimal digits: with the same ones a run can go on."""
        return digest("training", self.identity(), snapshot_digest, warm_start_digest)
