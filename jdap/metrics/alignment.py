"""Ways to bring a predicted depth map into the frame of its ground truth, one picture at a time.

Which of them is fair depends on what a method promises: relative depth (MiDaS, Marigold) is known up to scale and
shift, relative disparity (Depth Anything) up to scale and shift of 1 / d, scale-invariant depth up to a factor, metric
depth not at all. All take a prediction p that is larger = farther; what lies outside of the mask M has no influence.

* ``scale_shift``: least squares on depth, ``min Σ_M (s p + t − d*)²`` (:func:`jdap.metrics.depth.scale_shift`)
* ``disparity``: least squares on disparity, ``min Σ_M (s p + t − 1/d*)²``, and ``d = 1 / (s p + t)``. Disparity under a
  tenth of the farthest pixel's is raised to that, or a pixel at the horizon would be all of the error
* ``l1``: weighted least absolute deviations, ``min Σ_M |s p + t − d*| / d*`` (the robust alignment of MoGe, Wang et al.
  2024, without its truncation): a few wild pixels do not turn it, and no scale and shift has a smaller AbsRel
* ``scale``: least squares with ``t = 0``
* ``none``: as it is

s is free to be negative in all of them. Of a constant s = 0, and t is the mean, the mean of 1 / d*, or the weighted
median. A prediction that is 0 everywhere has s = 0 under ``scale``. An empty mask yields NaN.

Shapes: B pictures, H x W pixels, N pixels of a mask. Everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from jdap.metrics.depth import SCALE_SHIFT, scale_shift

DISPARITY, ROBUST, SCALE_ONLY, UNALIGNED = "disparity", "l1", "scale", "none"
#: Disparity is at least this share of that of the mask's farthest pixel.
LEAST_DISPARITY = 0.1
#: Points that a line passes by this share of the largest residual lie on it.
_ON_LINE = 1e-12
#: The line of least absolute deviations is found in a handful of pivots; this many would be a circle.
_MOST_PIVOTS = 1000


def align_least_squares(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``scale_shift``: aligned pictures (B, 1, H, W) float64, and their scales (B,)."""
    return _affine(prediction, *scale_shift(prediction, target, mask))


def align_disparity(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``disparity``; the scale is that of the disparity with its sign turned: of a map that is inside out it is < 0."""
    inverse = torch.where(mask, 1 / torch.where(mask, target.double(), 1), 0)
    disparity, scale = _affine(prediction, *scale_shift(prediction, inverse, mask))
    farthest = torch.where(mask, target.double(), 0).flatten(1).amax(1)[:, None, None, None]
    return 1 / disparity.clamp_min(LEAST_DISPARITY / farthest.clamp_min(1e-12)), -scale


def align_robust(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``l1``: exact, by pivoting from pixel to pixel (:func:`deviation_line`)."""
    found = [
        deviation_line(p[m].double(), d[m].double(), 1 / d[m].double())
        for p, d, m in zip(prediction, target, mask, strict=True)
    ]
    scale, shift = torch.tensor(found, dtype=torch.float64, device=prediction.device).reshape(-1, 2).unbind(1)
    return _affine(prediction, scale, shift)


def align_scale(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``scale``: ``s = Σ_M p d* / Σ_M p²``."""
    p, d = (torch.where(mask, x.double(), 0).flatten(1) for x in (prediction, target))
    power = p.square().sum(1)
    scale = torch.where(power > 0, (p * d).sum(1) / torch.where(power > 0, power, 1), 0)
    scale = torch.where(mask.flatten(1).any(1), scale, torch.nan)
    return _affine(prediction, scale, torch.zeros_like(scale))


def align_nothing(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``none``: the prediction in float64, and ones."""
    return prediction.double(), torch.ones(len(prediction), dtype=torch.float64, device=prediction.device)


#: name → (prediction, target, mask) → (aligned, scale). The order is that of tables.
ALIGNMENTS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    SCALE_SHIFT: align_least_squares,
    DISPARITY: align_disparity,
    ROBUST: align_robust,
    SCALE_ONLY: align_scale,
    UNALIGNED: align_nothing,
}
#: Alignments that mean something only of a prediction that promises the frame of the ground truth, or its zero.
PROMISED = (SCALE_ONLY, UNALIGNED)


def deviation_line(p_N: Tensor, d_N: Tensor, weight_N: Tensor) -> tuple[float, float]:
    """The line (s, t) of least weighted absolute deviations, ``min Σ w |s p + t − d|``; NaN without points.

    Some best line passes through two of the points. From a point on the line the best slope is a weighted median of the
    slopes to all others; the pixel that gives it is the next pivot (Wesolowsky 1981). The sum falls with every pivot,
    and where no point on the line gives a better one, the line is a minimum: the sum is convex, and linear in between.
    """
    if not len(p_N):
        return float("nan"), float("nan")
    flat = 0.0, float(d_N[_median(d_N, weight_N)])
    if float(p_N.amax() - p_N.amin()) <= 1e-12 * float(p_N.abs().amax()):
        return flat
    best, (scale, shift) = float("inf"), flat
    queue = [_median(d_N, weight_N)]
    for _ in range(_MOST_PIVOTS):
        if not queue:
            break
        pivot = queue.pop()
        run = p_N - p_N[pivot]
        others = run.abs() > 0
        slopes = (d_N[others] - d_N[pivot]) / run[others]
        chosen = _median(slopes, weight_N[others] * run[others].abs())
        line = float(slopes[chosen]), float(d_N[pivot] - slopes[chosen] * p_N[pivot])
        found = _deviation(p_N, d_N, weight_N, line)
        if found < best:
            best, (scale, shift) = found, line
            residual = (scale * p_N + shift - d_N).abs()
            on_line = residual <= _ON_LINE * float(residual.amax() + d_N.abs().amax())
            queue = [int(i) for i in on_line.nonzero().flatten() if int(i) != pivot]
    return scale, shift


def _deviation(p_N: Tensor, d_N: Tensor, weight_N: Tensor, line: tuple[float, float]) -> float:
    return float((weight_N * (line[0] * p_N + line[1] - d_N).abs()).sum())


def _median(values_N: Tensor, weight_N: Tensor) -> int:
    """The index of the lower weighted median."""
    order = values_N.argsort()
    running = weight_N[order].cumsum(0)
    return int(order[int(torch.searchsorted(running, running[-1] / 2))])


def _affine(prediction: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    s, t = scale[:, None, None, None], shift[:, None, None, None]
    return s * prediction.double() + t, scale
