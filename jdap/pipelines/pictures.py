"""What all pipelines take and give: pictures and depth in [-1, 1].

Shapes: B pictures, C latent channels, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from jdap import depth as depth_frames
from jdap.diffusion.denoiser import Pair
from jdap.models.codec import Codec


class Portrait(NamedTuple):
    """A generated portrait: ``rgb`` (B, 3, H, W) and normalised ``depth`` (B, 1, H, W), both in [-1, 1]."""

    rgb: Tensor
    depth: Tensor


def check_pictures(pictures: Tensor, what: str, channels: int = 3) -> None:
    """Raises ValueError, naming ``what``, unless the pictures are (B, channels, H, W) in [-1, 1]."""
    # A NaN fails both comparisons, so it is caught here too.
    right = pictures.ndim == 4 and pictures.shape[1] == channels
    if not right or not (pictures.amin() >= -1 and pictures.amax() <= 1):
        raise ValueError(f"{what} must be (B, {channels}, H, W) in [-1, 1], got {tuple(pictures.shape)}")


def decode(codec: Codec, latents: Pair) -> Portrait:
    """The pictures of latents (B, C, h, w) of both halves."""
    rgb, depth = codec.decode(torch.cat(latents)).chunk(2)
    return Portrait(rgb.clamp(-1, 1), depth_frames.from_codec(depth))
