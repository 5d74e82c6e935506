"""Attention processors through which a ReferenceNet hands its features to the joint UNet.

Two dictionaries travel through diffusers' ``cross_attention_kwargs``: ``written`` is filled by the ReferenceNet's
spatial self-attention, ``reference`` is looked up by the joint UNet's, both under the layer's name. There is no state
in the modules, so gradient checkpointing, accumulation and several calls in flight are all safe.

Shapes: B pictures, N tokens of the main picture, M tokens of the reference, D channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor


def attend(attn: Attention, query_BND: Tensor, context_BMD: Tensor, mask_BM: Tensor | None = None) -> Tensor:
    """Multi-head attention of ``query`` to ``context`` with the layer's own projections → (B, N, D).

    ``mask_BM`` bool says which context tokens may be seen (None: all).
    """
    q, k, v = (
        project(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for project, x in ((attn.to_q, query_BND), (attn.to_k, context_BMD), (attn.to_v, context_BMD))
    )
    mask = None if mask_BM is None else mask_BM[:, None, None, :]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
    return attn.to_out[1](attn.to_out[0](out)) / attn.rescale_output_factor


class PlainAttention:
    """Attention as diffusers does it; takes the reference dictionaries and leaves them alone (for ``attn2``)."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        written: dict[str, Tensor] | None = None,
        reference: dict[str, Tensor] | None = None,
        keep_reference: Tensor | None = None,
    ) -> Tensor:
        """(B, N, D) → (B, N, D). diffusers passes on only what this signature names."""
        if attention_mask is not None:
            raise ValueError("these attention layers take no attention_mask")
        own = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        return attend(attn, hidden_states, *self.context(own, written, reference, keep_reference))

    def context(
        self,
        own_BMD: Tensor,
        written: dict[str, Tensor] | None,
        reference: dict[str, Tensor] | None,
        keep_reference_B: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """The tokens that are looked up (B, M, D), and which of them may be seen (B, M) bool (None: all)."""
        return own_BMD, None


class ReferenceWriter(PlainAttention):
    """Self-attention of the ReferenceNet: leaves its input in ``written[name]`` for the readers."""

    def __init__(self, name: str) -> None:
        self.name = name

    def context(
        self,
        own_BMD: Tensor,
        written: dict[str, Tensor] | None,
        reference: dict[str, Tensor] | None,
        keep_reference_B: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Its own tokens, which it writes down."""
        if written is not None:
            written[self.name] = own_BMD
        return own_BMD, None


class ReferenceReader(PlainAttention):
    """Self-attention of the joint UNet, whose keys and values also hold the reference's tokens.

    ``reference[name]`` (B, M, D); ``keep_reference`` (B,) bool: samples that may see it. A sample that may not, gets
    exactly the attention it would get without a reference.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def context(
        self,
        own_BMD: Tensor,
        written: dict[str, Tensor] | None,
        reference: dict[str, Tensor] | None,
        keep_reference_B: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Its own tokens and the reference's; the latter only where they are kept."""
        if reference is None:
            return own_BMD, None
        tokens = reference[self.name]
        both = torch.cat([own_BMD, tokens], dim=1)
        if keep_reference_B is None:
            return both, None
        own = keep_reference_B.new_ones(own_BMD.shape[:2])
        return both, torch.cat([own, keep_reference_B[:, None].expand(-1, tokens.shape[1])], dim=1)
