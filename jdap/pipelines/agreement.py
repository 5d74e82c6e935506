"""How well a drawn picture and the depth drawn with it belong together, by the model's own eyes.

Shapes: B portraits, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jdap.metrics.depth import align_scale_shift
from jdap.pipelines.pictures import Portrait

#: Depth beyond is background, of which nothing is asked.
HEAD_BEFORE = 0.9


def disagreement(depth_B1HW: Tensor, estimated_B1HW: Tensor) -> Tensor:
    """(B,) float64: RMSE between depth and its estimate in [-1, 1], after the scale and shift that suit the head best.

    The head is where the depth is under :data:`HEAD_BEFORE`; where nothing is, a portrait is as bad as can be: 2.
    """
    head = depth_B1HW < HEAD_BEFORE
    none = ~head.flatten(1).any(1)[:, None, None, None]
    aligned = align_scale_shift(estimated_B1HW, depth_B1HW, head | none)
    squares = ((aligned - depth_B1HW).square() * head).flatten(1).sum(1) / head.flatten(1).sum(1).clamp_min(1)
    return torch.where(none.flatten(), 2.0, squares.sqrt())


def choose_best(draws: Sequence[Portrait], disagreements: Sequence[Tensor]) -> Portrait:
    """Of several draws of B portraits, for each the one whose two halves disagree least."""
    best_B = torch.stack(list(disagreements)).argmin(0)
    rows = torch.arange(len(best_B), device=best_B.device)
    rgb, depth = (torch.stack(list(halves))[best_B, rows] for halves in zip(*draws, strict=True))
    return Portrait(rgb, depth)
