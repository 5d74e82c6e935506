"""Attention processors through which a ReferenceNet hands its features to the joint UNet.

Dictionaries travel through diffusers' ``cross_attention_kwargs``, under the layers' names: ``written`` is filled by
the ReferenceNet's spatial self-attention; what it holds, once through the joint UNet's own projections
(:meth:`jdap.models.joint_unet.JointUNet.project_reference`), is the ``reference`` that the joint UNet's looks up. There
is no state in the modules, so gradient checkpointing, accumulation and several calls in flight are all safe.

Shapes: B pictures, N tokens of the main picture, M tokens of what it looks up, D channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor

#: What a ReferenceNet gives: the name of a self-attention layer → its input there, (B, M, D).
Features = dict[str, Tensor]


class KeyValue(NamedTuple):
    """Keys and values of a context's tokens, (B, M, D) each, the heads side by side in D."""

    key: Tensor
    value: Tensor


#: The same as the joint UNet looks it up: the name of its self-attention layer → keys and values.
Projected = dict[str, KeyValue]


def project(attn: Attention, context_BMD: Tensor) -> KeyValue:
    """Keys and values of ``context`` by the layer's own projections."""
    return KeyValue(attn.to_k(context_BMD), attn.to_v(context_BMD))


def attend(attn: Attention, query_BND: Tensor, context: KeyValue, mask_BM: Tensor | None = None) -> Tensor:
    """Multi-head attention of ``query`` to ``context`` with the layer's own projections → (B, N, D).

    ``mask_BM`` bool says which context tokens may be seen (None: all).
    """
    q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (attn.to_q(query_BND), *context))
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
        written: Features | None = None,
        reference: Projected | None = None,
        keep_reference: Tensor | None = None,
    ) -> Tensor:
        """(B, N, D) → (B, N, D). diffusers passes on only what this signature names."""
        if attention_mask is not None:
            raise ValueError("these attention layers take no attention_mask")
        own = project(attn, hidden_states if encoder_hidden_states is None else encoder_hidden_states)
        return attend(attn, hidden_states, *self.context(own, reference, keep_reference))

    def context(
        self, own: KeyValue, reference: Projected | None, keep_reference_B: Tensor | None
    ) -> tuple[KeyValue, Tensor | None]:
        """What is looked up, and which of its tokens may be seen, (B, M) bool (None: all)."""
        return own, None


class ReferenceReader(PlainAttention):
    """Self-attention of the joint UNet, which also looks up the reference's keys and values.

    ``reference[name]`` (B, M, D) each; ``keep_reference`` (B,) bool: samples that may see it. A sample that may not,
    gets exactly the attention it would get without a reference.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def context(
        self, own: KeyValue, reference: Projected | None, keep_reference_B: Tensor | None
    ) -> tuple[KeyValue, Tensor | None]:
        """Its own tokens and then the reference's; the latter only where they are kept."""
        if reference is None:
            return own, None
        others = reference[self.name]
        both = KeyValue(*(torch.cat(pair, dim=1) for pair in zip(own, others, strict=True)))
        if keep_reference_B is None:
            return both, None
        seen = keep_reference_B.new_ones(own.key.shape[:2])
        return both, torch.cat([seen, keep_reference_B[:, None].expand(others.key.shape[:2])], dim=1)


class ReferenceWriter:
    """Attention of the ReferenceNet, which leaves its input in ``written[name]`` for the readers.

    Args:
        name: of the self-attention layer; None writes nothing (for ``attn2``).
        answers: False for the last layers: what they would answer reaches no reader, so they pass their input on
            instead, and the costliest part of what is never read costs nothing.
    """

    def __init__(self, name: str | None, answers: bool = True) -> None:
        self.name, self.answers = name, answers

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        written: Features | None = None,
    ) -> Tensor:
        """(B, N, D) → (B, N, D)."""
        if self.name is not None and written is not None:
            # once: under gradient checkpointing the backward pass comes by again, when nobody reads any more
            written.setdefault(self.name, hidden_states)
        if not self.answers:
            return hidden_states
        return PlainAttention()(attn, hidden_states, encoder_hidden_states, attention_mask)
