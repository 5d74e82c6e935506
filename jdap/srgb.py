"""Colours as files hold them, sRGB: the curve to linear light (IEC 61966-2-1), and brightness apart from hue (YIQ)."""

from __future__ import annotations

import torch
from torch import Tensor

#: RGB to YIQ (NTSC 1953): brightness (the luma of ITU-R BT.601), and two axes of colour, orange to blue and green to
#: magenta. Hue is an angle and saturation a length in the IQ plane, so both are changed by linear maps of RGB.
RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


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


def rgb_to_yiq(rgb_B3HW: Tensor) -> Tensor:
    """Pictures, or their differences, (B, 3, H, W) in RGB → the same in YIQ."""
    return torch.einsum("ij,bjhw->bihw", rgb_B3HW.new_tensor(RGB_TO_YIQ), rgb_B3HW)
