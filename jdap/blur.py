"""A Gaussian blur of pictures. Pure functions.

Shapes: B pictures, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(pictures_BCHW: Tensor, sigma_px: float) -> Tensor:
    """Pictures blurred by a Gaussian of standard deviation ``sigma_px``, from 0; their border's pixels go on outside.

    The window ends at three standard deviations; under a sixth of a pixel that is the picture itself.
    """
    reach, channels = round(3 * sigma_px), pictures_BCHW.shape[1]
    if reach < 1:
        return pictures_BCHW
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma_px) ** 2)
    taps = (taps / taps.sum()).to(pictures_BCHW)
    padded = F.pad(pictures_BCHW, (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
