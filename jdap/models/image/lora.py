"""LoRA: a trained network learns a person by small matrices beside its attention, which are then merged into it.

2106.09685: a frozen projection W gets B·A beside it, of a small rank, with B = 0 at first. PEFT is an extra.
"""

from __future__ import annotations

from typing import Any

from torch import nn

#: Projections of an attention layer, as diffusers calls them.
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


class LoraError(ImportError):
    """PEFT is not installed; the message says how to get it."""


def add_lora(network: nn.Module, rank: int) -> None:
    """Put LoRA of ``rank`` beside the attention projections that train, and freeze all else, in place.

    Projections that are frozen already are asked by nobody (``freeze_unasked`` of the stages), so every
    adapter gets a gradient. The network answers as before. Raises :class:`LoraError` where PEFT is missing, ValueError
    where the rank is not positive or no attention trains.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise LoraError(f"model.lora_rank needs PEFT ({error}): pip install 'jdap[lora]'") from error
    names = [
        name
        for name, module in network.named_modules()
        if name.endswith(PROJECTIONS) and isinstance(module, nn.Linear) and module.weight.requires_grad
    ]
    if rank < 1 or not names:
        raise ValueError(f"model.lora_rank {rank}: must be positive, and the network have attention that trains")
    network.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=names), network)


def merge_lora(network: nn.Module) -> None:
    """Add the adapters to the weights beside which they stand and take them out, in place; without any, do nothing."""
    try:
        from peft.tuners.lora import LoraLayer
    except ImportError:  # then there are none
        return
    for name, layer in list(network.named_modules()):
        if isinstance(layer, LoraLayer):
            merged: Any = layer
            merged.merge()
            above, _, own = name.rpartition(".")
            network.get_submodule(above).register_module(own, merged.get_base_layer())
