"""LoRA adapters: one U-Net in memory plays generator, finetuned regularizer and frozen regularizer.

Switching by peft alone has two silent traps: `set_adapter` takes the gradients from every other adapter, so a backward
pass after a switch leaves them at zero; and gradient checkpointing computes a block again with whichever adapter is
active *then*. Here switching leaves every adapter trainable, and `require_active` stands before each backward pass.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from model.network.network_config import AdapterConfig
from storage.extras import extra

with extra("train"):
    from peft import LoraConfig
    from peft.tuners.tuners_utils import BaseTunerLayer

DiffusersNetwork = Any
"""A `UNet2DConditionModel` or `AutoencoderKL`; diffusers hides its classes from type checkers."""

GENERATOR = "generator"
REGULARIZER = "regularizer"


def add_adapter(network: DiffusersNetwork, name: str, config: AdapterConfig) -> None:
    """Put a LoRA adapter, fp32 whatever the network's dtype, on a diffusers network; it changes no output yet.

    Raises:
        ValueError: no layer of the network is among `config.targets`.
    """
    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    lora = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets, init_lora_weights="gaussian")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # two adapters are what is wanted
        network.add_adapter(lora, adapter_name=name)
    # peft creates it in the dtype of the layer: bf16 weights would swallow updates of a learning rate of 5e-5.
    for parameter in lora_parameters(network, name).values():
        parameter.data = parameter.data.float()
    for parameter_name, parameter in network.named_parameters():
        if ".lora_" in parameter_name:
            parameter.requires_grad_(True)  # peft takes it from the adapters that were there before
    activate(network, name)


def activate(network: DiffusersNetwork, name: str | None) -> None:
    """Run with this adapter only, or with none; every adapter stays trainable.

    What peft's `set_adapter` does, without touching `requires_grad`, and in a tenth of the time.
    """
    for layer in lora_layers(network):
        layer._disable_adapters = name is None
        if name is not None:
            layer._active_adapter = [name]


def active_adapter(network: DiffusersNetwork) -> str | None:
    """The adapter that the network runs with.

    Raises:
        AssertionError: its layers disagree, or several are added up.
    """
    states = {None if layer.disable_adapters else tuple(layer.active_adapters) for layer in lora_layers(network)}
    assert len(states) == 1, f"layers run with different adapters: {states}"
    state = states.pop()
    if state is None:
        return None
    assert len(state) == 1, f"adapters {state} are added up"
    return state[0]


def require_active(network: DiffusersNetwork, name: str) -> None:
    """To be called right before a backward pass, which needs the adapter of its forward pass.

    Raises:
        AssertionError: another adapter is active.
    """
    active = active_adapter(network)
    assert active == name, f"backward pass of {name} while {active} is active: its gradients would be wrong"


def lora_layers(network: DiffusersNetwork) -> Iterator[BaseTunerLayer]:
    """Every layer that carries adapters."""
    return (module for module in network.modules() if isinstance(module, BaseTunerLayer))


def lora_parameters(network: DiffusersNetwork, name: str) -> dict[str, nn.Parameter]:
    """The tensors of one adapter by their names in the network."""
    return {key: value for key, value in network.named_parameters() if ".lora_" in key and f".{name}." in key}


@torch.no_grad()
def merge_adapter(network: DiffusersNetwork, name: str) -> None:
    """Add one adapter to the weights and remove all: the same output without the additional layers."""
    activate(network, name)
    network.fuse_lora(adapter_names=[name])
    network.unload_lora()
    network.requires_grad_(False)
