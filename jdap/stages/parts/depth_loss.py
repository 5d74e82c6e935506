"""The loss of depth that was decoded: up to a scale and a shift on the skin, and in its frame over the head.

Shapes: B pictures, H = W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from jdap import depth as depth_frames
from jdap.batch import ImageBatch
from jdap.metrics.ssi import ssi_loss
from jdap.stages.settings.onestep import OneStepLossSettings


class DepthLoss(NamedTuple):
    """What each picture gives: the loss in the free frame and in the normalised one (B,), which have any (B,), and the
    sum of both as they weigh (B,)."""

    free_B: Tensor
    framed_B: Tensor
    has_depth_B: Tensor
    total_B: Tensor


def depth_loss(
    depth_B1HW: Tensor, batch: ImageBatch, settings: OneStepLossSettings, rows_B: Tensor | None = None
) -> DepthLoss:
    """The loss of depth that was predicted for a batch, or for these rows of it."""

    def of(field: Tensor) -> Tensor:
        return field if rows_B is None else field[rows_B]

    skin, truth, confidence, range_mm = map(of, (batch.skin, batch.depth, batch.confidence, batch.range_mm))
    source = batch.depth_source if rows_B is None else tuple(batch.depth_source[i] for i in rows_B.tolist())
    has_range = depth_frames.has_range(range_mm)[:, None, None, None]
    mask = skin & (of(batch.depth_mm) > 0) & has_range
    free_B, has_depth_B = ssi_loss(
        depth_B1HW, truth, mask, confidence, power=settings.power, gradient=settings.gradient
    )
    weight = depth_frames.loss_weight(skin.float(), source, range_mm, settings.outside_skin)
    error = (depth_B1HW.float() - truth).square() * weight * confidence
    framed_B = error.sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1)
    free_B = free_B.float()
    return DepthLoss(free_B, framed_B, has_depth_B, (free_B + settings.framed * framed_B) * has_depth_B)
