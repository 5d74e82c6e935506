"""Attention to audio: beside each text cross-attention of the UNet, a layer of its own looks up what is heard.

It is decoupled (as in arXiv 2308.06721): own queries, keys, values and output, added to what the frozen layer answers,
times a scale. What is heard is multiplied, channel by channel, with a linear function of the position's own features
before the output: lips have to move where there are lips, and through the softmax alone a fresh layer first learns to
shift the whole picture. Outputs start at zero, so that a fresh model answers as one without sound.

Shapes: N pictures, P positions of a picture, L tokens of its sound, D channels of a layer.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from jdap.models.image.attention import AttentionContext, KeyValue, Layers, PlainAttention, look_up


class AudioLayer(nn.Module):
    """One layer of attention from the positions of a picture to the tokens of its sound."""

    def __init__(self, channels: int, token_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(token_dim, channels, bias=False)
        self.to_v = nn.Linear(token_dim, channels, bias=False)
        self.to_gate = nn.Linear(channels, channels)
        self.to_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def project(self, tokens_NLD: Tensor) -> KeyValue:
        """Keys and values of tokens; they do not depend on what is sampled."""
        return KeyValue(self.to_k(tokens_NLD), self.to_v(tokens_NLD))

    def forward(self, hidden_NPD: Tensor, audio: KeyValue) -> Tensor:
        """What the positions hear, (N, P, D)."""
        return self.to_out(look_up(self.to_q(hidden_NPD), audio, self.heads) * self.to_gate(hidden_NPD))


class AudioAttention(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The layers of sound of a UNet, apart from it: what trains, and what a weights folder stores.

    Args:
        channels: name of a cross-attention layer (``….attn2``) → its channels.
        heads: name → number of heads.
        token_dim: channels of the sound's tokens.
    """

    @register_to_config
    def __init__(self, channels: dict[str, int], heads: dict[str, int], token_dim: int) -> None:
        super().__init__()
        # names of modules may not hold dots
        self.layers = nn.ModuleDict(
            {_key(name): AudioLayer(width, token_dim, heads[name]) for name, width in channels.items()}
        )

    def layer(self, name: str) -> AudioLayer:
        """The layer beside the cross-attention of this name."""
        found: AudioLayer = self.layers[_key(name)]  # type: ignore[assignment]
        return found

    def project(self, tokens_NLD: Tensor) -> Layers:
        """Keys and values for every layer: once a training step, and once for all steps of a sampled window."""
        return {name: self.layer(name).project(tokens_NLD) for name in self.config["channels"]}


class AudioReader(PlainAttention):
    """Cross-attention of the joint UNet, and beside it a layer that hears; without sound it is the former alone.

    Args:
        name: of the cross-attention layer.
        layer: of the :class:`AudioAttention`, which owns it.
    """

    def __init__(self, name: str, layer: AudioLayer) -> None:
        self.name, self.layer = name, layer

    def answer(
        self, attn: Attention, hidden_BND: Tensor, context_BMD: Tensor | None, beside: AttentionContext
    ) -> Tensor:
        """What is seen, and added to it what is heard."""
        out = super().answer(attn, hidden_BND, context_BMD, beside)
        if beside.audio is None:
            return out
        heard = beside.audio_scale * self.layer(hidden_BND[beside.audio_from :], beside.audio[self.name])
        if beside.keep_audio is not None:
            heard = heard * beside.keep_audio[:, None, None]
        # not in place: of a cross-attention without tokens every place of the answer is the same memory
        first = beside.audio_from
        return torch.cat([out[:first], out[first:] + heard]) if first else out + heard


def new_audio_attention(unet: UNet2DConditionModel, token_dim: int) -> AudioAttention:
    """Fresh layers beside every cross-attention of a UNet, with its heads."""
    names = [name.removesuffix(".processor") for name in unet.attn_processors if ".attn2." in name]
    attention: dict[str, Attention] = {name: unet.get_submodule(name) for name in names}  # type: ignore[misc]
    return AudioAttention(
        channels={name: layer.to_q.in_features for name, layer in attention.items()},
        heads={name: layer.heads for name, layer in attention.items()},
        token_dim=token_dim,
    )


def _key(name: str) -> str:
    return name.replace(".", "-")
