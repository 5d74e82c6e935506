"""The only place where depth changes frame.

Three frames exist, and every tensor's name says which one it is in:

* ``depth_mm``: z-depth along the camera axis in millimetres, 0 = no value.
* ``depth``: normalised to [-1, 1], far = +1. With q2 and q98 the 2 % and 98 % quantiles of the skin's depth in one
  picture, ``depth = 2 (depth_mm - q2) / (q98 - q2) - 1``, clipped; pixels without depth are +1.
* codec input: ``depth`` repeated to the three channels that an image codec reads.

In shards depth is 16-bit, in tenths of a millimetre (:data:`TENTHS_PER_MM`); normalised depth in pictures is, too
(:func:`to_uint16`).

Shapes: B pictures, F frames, C channels, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NEAR_QUANTILE, FAR_QUANTILE = 0.02, 0.98
#: Depth of a pixel that has none, in the normalised frame: as far as the picture goes.
NO_DEPTH = 1.0
TENTHS_PER_MM = 10
#: The farthest depth a 16-bit file can hold.
MAX_DEPTH_MM = np.iinfo(np.uint16).max / TENTHS_PER_MM
#: Normalised depth as 16 bits: 0 is no value, 1 is depth -1 (near), 65535 is depth +1 (far).
NO_VALUE, DEPTH_LEVELS = 0, 65534
ENCODING = "uint16; 0 = no value; depth = 2 * (value - 1) / 65534 - 1"
#: Below this relief a picture has no usable depth range (a face's relief is about 100 mm).
MIN_RANGE_MM = 1.0


def to_tenths(depth_mm: np.ndarray) -> np.ndarray:
    """Millimetres (..., float, 0 = no value) to the uint16 tenths that files hold.

    Raises ValueError for negative, non-finite or too far values (over 6553.5 mm): nothing is clipped silently.
    """
    if not np.isfinite(depth_mm).all() or depth_mm.min(initial=0) < 0 or depth_mm.max(initial=0) > MAX_DEPTH_MM:
        raise ValueError(f"depth must be finite and within 0 … {MAX_DEPTH_MM} mm to be stored")
    return np.rint(depth_mm * TENTHS_PER_MM).astype(np.uint16)


def from_tenths(tenths: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_tenths`: uint16 tenths to float32 millimetres."""
    return tenths.astype(np.float32) / TENTHS_PER_MM


def to_uint16(depth: np.ndarray) -> np.ndarray:
    """Depth in [-1, 1] (NaN: no value) → uint16 as in :data:`ENCODING`."""
    steps = np.rint((np.clip(depth, -1, 1) + 1) / 2 * DEPTH_LEVELS) + 1
    return np.where(np.isnan(depth), NO_VALUE, steps).astype(np.uint16)


def from_uint16(value: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_uint16`: float32, NaN where there is no value."""
    depth = 2 * (value.astype(np.float32) - 1) / DEPTH_LEVELS - 1
    return np.where(value == NO_VALUE, np.float32(np.nan), depth)


def skin_range_mm(depth_mm: Tensor, skin: Tensor) -> Tensor:
    """(q2, q98) of each picture's depth over its valid skin pixels.

    ``depth_mm`` (B, 1, H, W) float, ``skin`` (B, 1, H, W) bool → (B, 2) millimetres, q98 > q2. A skin pixel is valid
    where it has depth. A picture with no valid pixel, or with relief under 1 mm, gets (0, 1): its skin mask is empty
    or flat, and nothing is learnt or measured from its depth (see :func:`has_range`).
    """
    ranges = depth_mm.new_tensor([0.0, 1.0]).repeat(depth_mm.shape[0], 1)
    for i, (z, m) in enumerate(zip(depth_mm, skin & (depth_mm > 0), strict=True)):
        valid = z[m]
        if len(valid):
            near_far = _near_far(valid)
            if near_far[1] - near_far[0] >= MIN_RANGE_MM:
                ranges[i] = near_far
    return ranges


def _near_far(values_N: Tensor) -> Tensor:
    """What ``torch.quantile`` gives, to the bit, from the few values at either end: it would sort all of them."""
    last = len(values_N) - 1
    ranks = torch.tensor([NEAR_QUANTILE, FAR_QUANTILE], dtype=values_N.dtype) * last
    below, above = ranks.floor().int().tolist(), ranks.ceil().int().tolist()
    smallest = values_N.topk(above[0] + 1, largest=False).values
    largest = values_N.topk(last - below[1] + 1).values
    share = (ranks - ranks.floor()).tolist()
    near = torch.lerp(smallest[below[0]], smallest[above[0]], share[0])
    return torch.stack([near, torch.lerp(largest[last - below[1]], largest[last - above[1]], share[1])])


def has_range(range_mm: Tensor) -> Tensor:
    """Which pictures (B, 2) have a measured depth range → (B,) bool."""
    return range_mm[:, 0] > 0


def normalise(depth_mm: Tensor, range_mm: Tensor) -> Tensor:
    """Millimetres (B, ..., 0 = no value) to [-1, 1] by each picture's ``range_mm`` (B, 2); no value becomes +1."""
    near, far = _broadcast(range_mm, depth_mm)
    depth = (2 * (depth_mm - near) / (far - near) - 1).clamp(-1, 1)
    return torch.where(depth_mm > 0, depth, torch.full_like(depth, NO_DEPTH))


def of_head(head_mm: Tensor) -> Tensor:
    """A head's depth (B, 1, H, W) in any affine frame, 0 = none, normalised by the quantiles of all of it; without any
    head it is :data:`NO_DEPTH` everywhere."""
    return normalise(head_mm, skin_range_mm(head_mm, head_mm > 0))


def denormalise(depth: Tensor, range_mm: Tensor) -> Tensor:
    """The inverse of :func:`normalise` inside [q2, q98]: (B, ...) in [-1, 1] to millimetres."""
    near, far = _broadcast(range_mm, depth)
    return (depth + 1) / 2 * (far - near) + near


def to_codec(depth: Tensor) -> Tensor:
    """Normalised depth (..., 1, H, W) as the picture (..., 3, H, W) that an image codec reads."""
    return depth.expand(*depth.shape[:-3], 3, *depth.shape[-2:])


def from_codec(picture: Tensor) -> Tensor:
    """A decoded depth picture (..., 3, H, W) as normalised depth (..., 1, H, W): the mean of the three channels."""
    return picture.mean(dim=-3, keepdim=True).clamp(-1, 1)


def loss_weight(skin: Tensor, depth_source: Sequence[str], range_mm: Tensor, outside_skin: float) -> Tensor:
    """Where depth is learnt, and how much: the share of ``skin`` (B, 1, ...) in [0, 1] → weight (B, 1, ...).

    1 on skin. Off the skin ``outside_skin`` for samples whose ``depth_source`` is ``studio``, where the depth of the
    whole head is true, and 0 for fitted depth, which is only trusted on skin. 0 for pictures without a range.
    """
    shape = (-1,) + (1,) * (skin.ndim - 1)
    beside = skin.new_tensor([outside_skin if s == "studio" else 0.0 for s in depth_source]).reshape(shape)
    return (skin + beside * (1 - skin)) * has_range(range_mm).reshape(shape)


def latent_weight(skin: Tensor, factor: int) -> Tensor:
    """How much of each latent cell is skin: (B, 1, H, W) bool → (B, 1, H / factor, W / factor) in [0, 1]."""
    return F.avg_pool2d(skin.float(), factor)


def latent_confidence(confidence: Tensor, skin: Tensor, factor: int) -> Tensor:
    """How far each latent cell's depth is trusted: the mean of ``confidence`` over the cell's skin.

    ``confidence`` (B, 1, H, W) in [0, 1], ``skin`` (B, 1, H, W) bool → (B, 1, H / factor, W / factor) in [0, 1]. A cell
    without skin takes the mean over all of it.
    """
    weight = latent_weight(skin, factor)
    on_skin = F.avg_pool2d(confidence * skin, factor) / weight
    return torch.where(weight > 0, on_skin, F.avg_pool2d(confidence, factor))


def _broadcast(range_mm: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    shape = (-1,) + (1,) * (like.ndim - 1)
    return range_mm[:, 0].reshape(shape), range_mm[:, 1].reshape(shape)
