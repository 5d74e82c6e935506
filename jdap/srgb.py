"""The curve of sRGB (IEC 61966-2-1), between what files hold and linear light."""

from __future__ import annotations

import torch
from torch import Tensor


def to_linear(srgb: Tensor) -> Tensor:
    """sRGB in [0, 1] → linear light in [0, 1], of any shape; what is outside is clipped."""
    srgb = srgb.clamp(0, 1)
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def from_linear(linear: Tensor) -> Tensor:
    """Linear light in [0, 1] → sRGB in [0, 1], of any shape; what is outside is clipped."""
    # The power by exp and log: torch's pow differs in the last bit with a value's place in the batch.
    linear = linear.clamp(0, 1)
    return torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * torch.exp(linear.clamp_min(1e-8).log() / 2.4) - 0.055
    )
