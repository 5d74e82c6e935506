"""Attention processors through which a ReferenceNet hands its features to the joint UNet.

Dictionaries travel through diffusers' ``cross_attention_kwargs`` in ``beside``, under the layers' names: ``written`` is
filled by the ReferenceNet's spatial self-attention; what it holds, once through the joint UNet's own projections
(:meth:`jdap.models.image.joint_unet.JointUNet.project_reference`), is the ``reference`` that the joint UNet's looks up.
There is no state in the modules, so gradient checkpointing, accumulation and several calls in flight are all safe.

With ``rotary`` the queries and keys of self-attention are turned by where their cells are
(:mod:`jdap.models.image.rotary`), so that a cell can look for the same place, or one at some distance, in the picture
and in the reference alike.

Shapes: B pictures, R people, N tokens of the main picture, M tokens of what it looks up, L tokens of sound, D channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from jdap.models.attend import attend
from jdap.models.image.rotary import turned


class Features(NamedTuple):
    """What a ReferenceNet gives of R people.

    ``layers``: the name of a self-attention layer → its input there, (R, M, D); ``latents`` (R, C, h, w): those of each
    one's first picture; ``pictures``: how many of each there are, whose tokens stand one after the other.
    """

    layers: dict[str, Tensor]
    latents: Tensor
    pictures: int


class KeyValue(NamedTuple):
    """Keys and values of a context's tokens, (B, M, D) each, the heads side by side in D."""

    key: Tensor
    value: Tensor


#: The name of an attention layer → keys and values that it looks up.
Layers = dict[str, KeyValue]


class Reference(NamedTuple):
    """The features of R people as the joint UNet looks them up, and ``latents`` (R, C, h, w) for its first layer."""

    layers: Layers
    latents: Tensor


class AttentionContext(NamedTuple):
    """What the layers may look up beside the picture itself, the same for all of them.

    * ``reference``: of R people, each with ``frames`` consecutive pictures in the batch; nobody's features are copied
      for each of their frames
    * ``reference_from``: the first pictures of the batch have no reference (nor a place in ``reference`` and
      ``keep_reference``), and pay for none. The others may be the R people several times over, one time after another.
    * ``keep_reference`` (R,) bool: people whose pictures may see it (None: all)
    * ``audio``: layer → keys and values of the sound of each picture from ``audio_from`` on, (B − audio_from, L, D)
    * ``keep_audio`` (B − audio_from,) bool: pictures that may hear it (None: all)
    * ``audio_scale``: what the layers of sound answer is multiplied with
    * ``written``: where a ReferenceNet's layers leave what they see, by name
    """

    reference: Layers | None = None
    keep_reference: Tensor | None = None
    reference_from: int = 0
    frames: int = 1
    audio: Layers | None = None
    keep_audio: Tensor | None = None
    audio_from: int = 0
    audio_scale: float = 1.0
    written: dict[str, Tensor] | None = None


def project(attn: Attention, context_BMD: Tensor, rotary: bool = False) -> KeyValue:
    """Keys and values of ``context`` by the layer's own projections."""
    key = attn.to_k(context_BMD)
    return KeyValue(turned(key, attn.heads) if rotary else key, attn.to_v(context_BMD))


def look_up(query_BND: Tensor, context: KeyValue, heads: int, mask_BM: Tensor | None = None) -> Tensor:
    """Multi-head attention of projected queries to keys and values → (B, N, D), heads side by side.

    ``mask_BM`` bool says which context tokens may be seen (None: all).
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query_BND, *context))
    mask = None if mask_BM is None else mask_BM[:, None, None, :]
    return attend(q, k, v, mask).transpose(1, 2).flatten(2)


class PlainAttention:
    """Attention as diffusers does it; takes what is meant for the readers and leaves it alone (for ``attn2``).

    Where there is nothing to look up (a context of no tokens) what is left of the layer is its output's bias.
    """

    rotary = False

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        beside: AttentionContext | None = None,
    ) -> Tensor:
        """(B, N, D) → (B, N, D). diffusers passes on only what this signature names."""
        if attention_mask is not None:
            raise ValueError("these attention layers take no attention_mask")
        return self.answer(attn, hidden_states, encoder_hidden_states, beside or AttentionContext())

    def answer(
        self, attn: Attention, hidden_BND: Tensor, context_BMD: Tensor | None, beside: AttentionContext
    ) -> Tensor:
        """What the layer answers, (B, N, D); without a context it looks at itself."""
        if context_BMD is not None and context_BMD.shape[1] == 0:
            bias: Tensor = attn.to_out[0].bias  # type: ignore[index, assignment, union-attr]
            return (bias / attn.rescale_output_factor).expand_as(hidden_BND)
        own = project(attn, hidden_BND if context_BMD is None else context_BMD, self.rotary)
        query = attn.to_q(hidden_BND)
        out = self.mix(turned(query, attn.heads) if self.rotary else query, own, attn.heads, beside)
        return attn.to_out[1](attn.to_out[0](out)) / attn.rescale_output_factor

    def mix(self, query_BND: Tensor, own: KeyValue, heads: int, beside: AttentionContext) -> Tensor:
        """What the queries look up → (B, N, D)."""
        return look_up(query_BND, own, heads)


class ReferenceReader(PlainAttention):
    """Self-attention of the joint UNet, which also looks up the reference's keys and values.

    ``beside.reference[name]`` (R, M, D) each. A picture that may not see its reference gets exactly the attention it
    would get without one; those before ``beside.reference_from`` pay for none, while all else of the network is done
    once for both kinds.
    """

    def __init__(self, name: str, rotary: bool = False) -> None:
        self.name, self.rotary = name, rotary

    def mix(self, query_BND: Tensor, own: KeyValue, heads: int, beside: AttentionContext) -> Tensor:
        """Its own tokens and then the reference's; the latter only where they are there and kept."""
        if beside.reference is None:
            return look_up(query_BND, own, heads)
        alone, led = slice(None, beside.reference_from), slice(beside.reference_from, None)
        people = (-1, len(beside.reference[self.name].key), beside.frames)

        def of_everyone(x_RMD: Tensor) -> Tensor:
            """For every picture, (-1, R, F, M, D): a view, first written down beside the picture's own."""
            times = len(query_BND[led]) // (people[1] * people[2])
            return x_RMD[None, :, None].expand(times, -1, people[2], *x_RMD.shape[1:])

        both, mask = [], None
        for x, y in zip(own, beside.reference[self.name], strict=True):
            both.append(torch.cat([x[led].unflatten(0, people), of_everyone(y)], dim=-2).flatten(0, 2))
        if beside.keep_reference is not None:
            keep_B = of_everyone(beside.keep_reference[:, None, None]).flatten()
            seen = keep_B.new_ones(own.key[led].shape[:2])
            others = keep_B[:, None].expand(-1, both[0].shape[1] - seen.shape[1])
            mask = torch.cat([seen, others], dim=1)
        found = look_up(query_BND[led], KeyValue(*both), heads, mask)
        if not beside.reference_from:
            return found
        return torch.cat([look_up(query_BND[alone], KeyValue(*(x[alone] for x in own)), heads), found])


class ReferenceWriter(PlainAttention):
    """Self-attention of the ReferenceNet, which leaves its input in ``beside.written[name]`` for the readers."""

    def __init__(self, name: str, rotary: bool = False) -> None:
        self.name, self.rotary = name, rotary

    def leave(self, hidden_BND: Tensor, beside: AttentionContext) -> None:
        """Write down a layer's input, once: under gradient checkpointing the backward pass comes by again."""
        if beside.written is not None:
            beside.written.setdefault(self.name, hidden_BND)

    def answer(
        self, attn: Attention, hidden_BND: Tensor, context_BMD: Tensor | None, beside: AttentionContext
    ) -> Tensor:
        """As without a reader, after its input is left behind."""
        self.leave(hidden_BND, beside)
        return super().answer(attn, hidden_BND, context_BMD, beside)
