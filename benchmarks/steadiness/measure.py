"""How far a method's answers about one photo are from each other, and from its answer about another person.

Shapes: S x S pixels of a view.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.answers import Measures
from benchmarks.steadiness.asking import ViewAnswers
from benchmarks.steadiness.symmetry import Symmetry, symmetry
from benchmarks.steadiness.views import CHECK_GREY, CHECK_JITTERED, CHECK_MIRRORED, CHECK_SHIFTED, CHECK_ZOOMED, VIEWS
from jdap.depth import FAR_QUANTILE, NEAR_QUANTILE
from jdap.metrics.depth import FAR, NEAR, align_scale_shift, rmse
from jdap.metrics.ssi import MIN_PIXELS

SYMMETRY, BETWEEN_PEOPLE = "symmetry", "between people"
#: The checks of views, in the order of tables.
VIEW_CHECKS = (CHECK_MIRRORED, CHECK_SHIFTED, CHECK_ZOOMED, CHECK_GREY, CHECK_JITTERED)
#: Normalised frame. How far apart people are is neither good nor bad.
STEADY_MEASURES: Measures = {
    **{name: ("of .9", False) for name in (*VIEW_CHECKS, SYMMETRY)},
    BETWEEN_PEOPLE: ("of .9", None),
}


def relief(depth_11SS: Tensor, skin_11SS: Tensor) -> Tensor | None:
    """Depth with the 2 % and 98 % quantiles of its skin at 0.1 and 1, not clipped, float64; None without any relief."""
    on_skin = depth_11SS[skin_11SS].double()
    near, far = torch.quantile(on_skin, torch.tensor([NEAR_QUANTILE, FAR_QUANTILE], dtype=torch.float64))
    if far - near <= 1e-6 * on_skin.abs().max():
        return None
    return NEAR + (FAR - NEAR) * (depth_11SS.double() - near) / (far - near)


def apart(made_11SS: Tensor, target_11SS: Tensor, mask_11SS: Tensor) -> float:
    """RMSE after one scale and shift; NaN on fewer than :data:`jdap.metrics.ssi.MIN_PIXELS` pixels."""
    if int(mask_11SS.sum()) < MIN_PIXELS:
        return float("nan")
    return float(rmse(align_scale_shift(made_11SS, target_11SS, mask_11SS), target_11SS, mask_11SS))


class Steadiness:
    """What a method's answers about a photo are worth: :data:`STEADY_MEASURES`, and the maps behind them."""

    def __init__(self, answers: ViewAnswers, method: str) -> None:
        self.skin = torch.from_numpy(answers.skin_SS)[None, None]
        depths = answers.depth_V1SS[method].split(1)
        # Of a few pixels nothing can be said, nor of an answer without relief.
        known = int(self.skin.sum()) >= MIN_PIXELS
        self.relief = relief(depths[0], self.skin) if known else None
        self.views = [view.back(depth) for view, depth in zip(VIEWS, depths, strict=True)]
        self._pairs = answers.pairs_px_M22

    def scores(self) -> dict[str, float]:
        """Each check's RMSE, the mean of its views; NaN where there is none."""
        found = {name: float("nan") for name in (*VIEW_CHECKS, SYMMETRY)}
        if self.relief is None:
            return found
        for name in VIEW_CHECKS:
            views = [one for view, one in zip(VIEWS, self.views, strict=True) if view.check == name]
            found[name] = float(np.mean([apart(depth, self.relief, self.skin & seen) for depth, seen in views]))
        return found | {SYMMETRY: self.symmetry().rmse}

    def symmetry(self) -> Symmetry:
        """Of the answer about the photo as it is, which must have relief."""
        assert self.relief is not None
        return symmetry(self.relief[0, 0].numpy(), self.skin[0, 0].numpy(), self._pairs)

    def off(self) -> dict[str, np.ndarray]:
        """Check → (S, S) what its last view says minus the answer about the photo as it is, NaN where nothing is."""
        assert self.relief is not None
        found = {}
        for view, (depth, seen) in zip(VIEWS[1:], self.views[1:], strict=True):
            mask = self.skin & seen
            wrong = align_scale_shift(depth, self.relief, mask) - self.relief
            found[view.check] = torch.where(mask, wrong, torch.nan)[0, 0].numpy()
        return found | {SYMMETRY: self.symmetry().off_HW}

    def from_other(self, other: Steadiness) -> float:
        """RMSE to the answer about somebody else, on the skin of both."""
        if self.relief is None or other.relief is None:
            return float("nan")
        return apart(other.relief, self.relief, self.skin & other.skin)
