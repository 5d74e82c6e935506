"""How much of a picture's colour comes back: slopes on the axes of YIQ.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from jdap.srgb import rgb_to_yiq

AXES = ("Y", "I", "Q")
PATCH_PX = 8


class ColourSlopes(Metric):
    """Slopes of made on true colour, over the means of patches of 8 x 8 pixels: 1 is right, 0 is an axis that is lost.

    For each axis of YIQ the least-squares slope Σ (t − t̄)(m − m̄) / Σ (t − t̄)² over all patches of all pictures; NaN
    where the true pictures have no contrast on an axis. It updates with pictures (B, 3, H, W) of any range, H and W at
    least 8.
    """

    count: Tensor
    true: Tensor
    made: Tensor
    true_true: Tensor
    true_made: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("count", "true", "made", "true_true", "true_made"):
            self.add_state(name, torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, made_B3HW: Tensor, true_B3HW: Tensor) -> None:
        """Add pictures and what they should be."""
        made, true = (
            F.avg_pool2d(rgb_to_yiq(x.float()), PATCH_PX).double().transpose(0, 1).flatten(1)
            for x in (made_B3HW, true_B3HW)
        )
        # not in place: states that were reset in inference mode may not be changed outside of it
        self.count = self.count + true.shape[1]
        self.true = self.true + true.sum(1)
        self.made = self.made + made.sum(1)
        self.true_true = self.true_true + (true * true).sum(1)
        self.true_made = self.true_made + (true * made).sum(1)

    def compute(self) -> dict[str, Tensor]:
        """The slopes by the names of :data:`AXES`."""
        covariance = self.true_made - self.true * self.made / self.count
        slopes = covariance / (self.true_true - self.true.square() / self.count)
        return dict(zip(AXES, slopes.float().unbind(), strict=True))
