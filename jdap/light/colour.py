"""Between what files hold and light: sRGB, and the shoulder that cameras end their curve in."""

from __future__ import annotations

import torch
from torch import Tensor

from jdap.srgb import from_linear, to_linear

#: Linear up to here, then towards 1 as film does. What was brighter is told apart again when the shoulder is undone.
KNEE = 0.6
#: White as light, in units of what the linear part would call white: more cannot be told from it.
BRIGHTEST = 2.0


def to_light(srgb: Tensor) -> Tensor:
    """sRGB in [0, 1] → light in [0, :data:`BRIGHTEST`] as before a camera's shoulder."""
    linear = to_linear(srgb)
    over = ((linear - KNEE) / (1 - KNEE)).clamp(0, 1 - 1e-6)
    return torch.where(linear > KNEE, KNEE - (1 - KNEE) * torch.log1p(-over), linear).clamp_max(BRIGHTEST)


def from_light(light: Tensor) -> Tensor:
    """The inverse of :func:`to_light`: light from 0 on, without a bound → sRGB in [0, 1]."""
    over = ((light - KNEE) / (1 - KNEE)).clamp_min(0)
    return from_linear(torch.where(light > KNEE, 1 - (1 - KNEE) * torch.exp(-over), light))
