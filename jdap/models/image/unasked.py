"""Parameters that no answer depends on, as long as there are no tokens for the cross-attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import nn


def cross_attentions(network: nn.Module) -> Iterator[tuple[Any, nn.Module]]:
    """(cross-attention, the norm before it) of each transformer block of a network."""
    for block in network.modules():
        if isinstance(block, BasicTransformerBlock):
            yield block.attn2, block.norm2


def unasked(network: nn.Module) -> Iterator[nn.Parameter]:
    """What a cross-attention without tokens never asks: all of it but its output's bias, and its norm."""
    for attn, norm in cross_attentions(network):
        for part in (attn.to_q, attn.to_k, attn.to_v, norm):
            yield from part.parameters()
        yield attn.to_out[0].weight


@torch.no_grad()
def begin_anew(network: nn.Module) -> None:
    """Cross-attentions that were left out when the folder was packed, zeros, begin as in a new network.

    From zeros they would never learn: queries and keys of zero have gradients of zero.
    """
    for attn, norm in cross_attentions(network):
        if not attn.to_q.weight.any():
            bias = attn.to_out[0].bias.clone()
            for part in (attn.to_q, attn.to_k, attn.to_v, attn.to_out[0], norm):
                part.reset_parameters()
            attn.to_out[0].bias.copy_(bias)
