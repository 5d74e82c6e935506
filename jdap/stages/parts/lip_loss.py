"""What lips do, read from sound alone: a further loss that teaches a fresh encoder to hear.

Shapes: B clips, F frames, L tokens of D channels a frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: The unit of the loss: about the standard deviation of what lips do in speech.
LIP_SCALE_MM = 5.0


class LipLoss(nn.Linear):
    """A linear layer that reads the lips' opening, in units of :data:`LIP_SCALE_MM`, from a frame's tokens of sound."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__(tokens * dim, 1)

    def loss(self, tokens_BFLD: Tensor, lips_mm_BF: Tensor, has_audio_B: Tensor) -> Tensor:
        """Mean squared error over frames whose opening is known (not NaN) in clips with sound; 0 without any."""
        read_BF = self(tokens_BFLD.flatten(2))[..., 0].float()
        counts_BF = lips_mm_BF.isfinite() & has_audio_B[:, None]
        error_BF = (read_BF - torch.where(counts_BF, lips_mm_BF, 0.0) / LIP_SCALE_MM).square()
        return (error_BF * counts_BF).sum() / counts_BF.sum().clamp_min(1)
