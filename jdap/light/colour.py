"""Between what files hold and light: sRGB (IEC 61966-2-1), and the shoulder that cameras end their curve in."""

from __future__ import annotations

import torch
from torch import Tensor

#: Linear up to here, then towards 1 as film does. What was brighter is told apart again when the shoulder is undone.
KNEE = 0.6
#: White as light, in units of what the linear part would call white: more cannot be told from it.
BRIGHTEST = 2.0


def to_linear(srgb: Tensor) -> Tensor:
    """sRGB in [0, 1] → linear light in [0, 1], of any shape; what is outside is clipped."""
    srgb = srgb.clamp(0, 1)
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Tensor) -> Tensor:
    """Linear light in [0, 1] → sRGB in [0, 1], of any shape; what is outside is clipped."""
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-8) ** (1 / 2.4) - 0.055)


def to_light(srgb: Tensor) -> Tensor:
    """sRGB in [0, 1] → light in [0, :data:`BRIGHTEST`] as before a camera's shoulder."""
    linear = to_linear(srgb)
    over = ((linear - KNEE) / (1 - KNEE)).clamp(0, 1 - 1e-6)
    return torch.where(linear > KNEE, KNEE - (1 - KNEE) * torch.log1p(-over), linear).clamp_max(BRIGHTEST)


def from_light(light: Tensor) -> Tensor:
    """The inverse of :func:`to_light`: light from 0 on, without a bound → sRGB in [0, 1]."""
    over = ((light - KNEE) / (1 - KNEE)).clamp_min(0)
    return to_srgb(torch.where(light > KNEE, 1 - (1 - KNEE) * torch.exp(-over), light))
