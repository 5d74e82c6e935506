"""What a face does when it says a sound: expressions, heard from log-mel.

Shapes: B clips, S samples at 16 kHz, F video frames, E expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from jdap.models.audio.mel import LogMelEncoder

#: The network's unit of the lips' opening, so that all that it says is about 1.
OPENING_MM = 10.0


class Articulation(NamedTuple):
    """``expression_BFE``, strengths about 0 … 1, and ``opening_mm_BF``, how far the lips of a mean face are apart."""

    expression_BFE: Tensor
    opening_mm_BF: Tensor


class SpeakingFace(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Sound → strengths of the expressions that speech needs, by :class:`LogMelEncoder` and a linear layer.

    It was trained on the studio's speakers (``python -m benchmarks speaking``), and hears no farther than
    :attr:`context_frames` frames to either side: sound that comes in pieces gives what the whole gives.

    Args:
        names: of the expressions, ARKit's without ``_L`` and ``_R``: both halves do the same.
        channels, blocks: of the encoder.
    """

    @register_to_config
    def __init__(self, names: Sequence[str], channels: int = 128, blocks: int = 6) -> None:
        super().__init__()
        self.encoder = LogMelEncoder(channels, blocks)
        self.norm = nn.LayerNorm(channels)
        self.leave = nn.Linear(channels, len(names) + 1)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the E expressions."""
        return tuple(self.config["names"])

    @property
    def context_frames(self) -> int:
        """Frames of sound that are heard before and after a frame."""
        return self.encoder.context_frames

    def forward(self, audio_BS: Tensor, frames: int) -> Articulation:
        """What sound (B, 640 F) in [-1, 1] asks of the face, with silence beyond its ends.

        Raises ValueError for sound of another length.
        """
        return self.said(self.encoder(audio_BS, frames))

    def said(self, heard_BFC: Tensor) -> Articulation:
        """The same, of what the encoder hears."""
        found = self.leave(self.norm(F.gelu(heard_BFC)))
        return Articulation(found[..., :-1], found[..., -1] * OPENING_MM)
