"""What the temporal stage's loss reads of clips: latents, and what it makes of each of their cells.

Shapes: B clips, T frames of each, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from jdap import depth as depth_frames
from jdap.batch import ClipBatch, ClipLatentBatch
from jdap.diffusion.denoiser import Pair
from jdap.models.codec import Codec
from jdap.stages.parts.latents import CODEC_OF_INIT, latents_of


class EncodedClip(NamedTuple):
    """A batch as the loss reads it.

    ``clean`` latents of RGB and depth (B, T, C, h, w), ``reference`` latents (B, C, h, w); ``weight``, ``confidence``,
    ``focus`` (B, T, 1, h, w), see :meth:`jdap.diffusion.denoiser.JointDenoiser.loss`.
    """

    clean: Pair
    reference: Tensor
    weight: Tensor
    confidence: Tensor
    focus: Tensor


def encode_clip(
    codec: Codec, batch: ClipBatch | ClipLatentBatch, mark: str, mouth_focus: float, outside_skin: float
) -> EncodedClip:
    """Latents of all frames; depth's weight off the skin is ``outside_skin``, the mouth's focus 1 + ``mouth_focus``.

    Raises ValueError for cached latents of another codec than that with the fingerprint ``mark``.
    """
    rgb, depth, reference, skin, confidence = latents_of(codec, batch, mark, CODEC_OF_INIT)
    weight = depth_frames.loss_weight(skin, batch.depth_source, batch.range_mm, outside_skin)
    focus = 1 + mouth_focus * near_mouth(batch.mouth_px, skin.shape[-1], codec.factor)
    return EncodedClip(Pair(rgb, depth), reference, weight, confidence, focus)


def near_mouth(mouth_px: Tensor, cells: int, factor: int) -> Tensor:
    """How near each latent cell is to the mouth: exp(−½ (distance / radius)²), (B, F, 3) → (B, F, 1, cells, cells).

    ``mouth_px`` holds the mouth's centre x, y and radius in pixels of the picture, ``factor`` pixels a cell.
    """
    centres = (torch.arange(cells, device=mouth_px.device) + 0.5) * factor
    x, y, radius = mouth_px[..., None, None].unbind(2)
    distance = (centres[None, None, None, :] - x).square() + (centres[None, None, :, None] - y).square()
    return torch.exp(-0.5 * distance / radius.square())[:, :, None]
