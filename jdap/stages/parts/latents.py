"""What a stage's loss reads of a batch: latents of its pictures, or those that were cached.

Shapes: B pictures or clips (F frames of each), C latent channels, h x w latent cells.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from jdap import depth as depth_frames
from jdap.batch import ClipBatch, ClipLatentBatch, ImageBatch, LatentBatch
from jdap.models.codec import Codec

NEED_PICTURES = "image tokens are made of pictures, and these shards hold latents: train on pictures"
#: The codec of a stage that is built on an image model, in messages.
CODEC_OF_INIT = "the codec of model.init"


class BatchLatents(NamedTuple):
    """Latents ``rgb``, ``depth`` (B, [F,] C, h, w), ``reference`` (R, C, h, w), all float32.

    ``skin`` and ``confidence`` (B, [F,] 1, h, w) in [0, 1]: how much of each cell is skin, how far depth is trusted.
    """

    rgb: Tensor
    depth: Tensor
    reference: Tensor
    skin: Tensor
    confidence: Tensor


@torch.no_grad()
def latents_of(
    codec: Codec, batch: ImageBatch | LatentBatch | ClipBatch | ClipLatentBatch, mark: str, named: str
) -> BatchLatents:
    """Latents by ``codec``, in float32 whatever the precision of the step: cached latents and a pipeline's are, too.

    Raises ValueError for cached latents of another codec than that with the fingerprint ``mark``, which is ``named``.
    """
    if isinstance(batch, LatentBatch | ClipLatentBatch):
        if batch.codec != mark:
            raise ValueError(
                f"the training shards hold latents of codec {batch.codec[:12]}, and {named} is {mark[:12]}: "
                "cache them with it by `jdap cache-latents`"
            )
        return BatchLatents(*(getattr(batch, name).float() for name in BatchLatents._fields))
    each = batch.rgb.shape[:-3]
    rgb, depth, skin, trust = (x.flatten(0, -4) for x in (batch.rgb, batch.depth, batch.skin, batch.confidence))
    pictures = torch.cat([rgb, depth_frames.to_codec(depth), batch.reference_rgb])
    with torch.autocast(pictures.device.type, enabled=False):
        latents = codec.encode(pictures.to(next(codec.parameters()).dtype)).float()
    z_rgb, z_depth, reference = latents.split([len(rgb), len(rgb), len(batch.reference_rgb)])
    weight = depth_frames.latent_weight(skin, codec.factor)
    trust = depth_frames.latent_confidence(trust, skin, codec.factor)
    z_rgb, z_depth, weight, trust = (x.unflatten(0, each) for x in (z_rgb, z_depth, weight, trust))
    return BatchLatents(z_rgb, z_depth, reference, weight, trust)
