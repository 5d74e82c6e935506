"""Features of sound → tokens for cross-attention.

Shapes: B clips, F frames, C = layers x width channels of the encoder, L tokens of D channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class AudioProjection(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The features of ``window`` frames on each side of a frame → its tokens: two linear layers and a LayerNorm.

    Where an encoder gives several layers, each is normalised and their weighted mean is taken, with learned weights
    that sum to one (Yang et al. 2021, SUPERB): a number a layer, where side by side 13 layers of width 768 in a window
    of 5 would make the first linear layer 13 times as large.

    Args:
        channels: C.
        layers: of the encoder, which C is a multiple of.
        window: frames on each side.
        tokens: L.
        dim: D.
        hidden: channels between the linear layers.

    Raises:
        ValueError: where ``layers`` does not divide ``channels``.
    """

    @register_to_config
    def __init__(
        self, channels: int, layers: int = 1, window: int = 2, tokens: int = 32, dim: int = 768, hidden: int = 512
    ) -> None:
        super().__init__()
        if channels % layers:
            raise ValueError(f"{channels} channels are no multiple of {layers} layers")
        self.window = window
        self.layer_weights = nn.Parameter(torch.zeros(layers)) if layers > 1 else None
        self.first = nn.Linear((2 * window + 1) * (channels // layers), hidden)
        self.second = nn.Linear(hidden, tokens * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, features_BFC: Tensor) -> Tensor:
        """(B, F + 2 window, C) → (B, F, L, D). Raises ValueError where there is no whole window."""
        span = 2 * self.window + 1
        if features_BFC.shape[1] < span:
            raise ValueError(f"audio tokens look at {span} frames, got {features_BFC.shape[1]}")
        layers: int = self.config["layers"]
        each = features_BFC.unflatten(-1, (layers, -1))
        each = F.layer_norm(each, each.shape[-1:])
        if self.layer_weights is None:
            mean = each.squeeze(-2)
        else:
            mean = (each * self.layer_weights.softmax(0)[:, None]).sum(-2)
        windows = mean.unfold(1, span, 1).flatten(2)  # channel by channel, its frames side by side
        out = self.second(F.gelu(self.first(windows)))
        return self.norm(out.unflatten(-1, (self.config["tokens"], self.config["dim"])))
