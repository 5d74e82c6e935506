"""Depth errors of one picture at a time, up to a scale and a shift, and the torchmetrics classes that average them.

Three frames of reference exist for the ground truth d* (:func:`ground_truth`):

* ``normalised``: the picture's q2 and q98 over the skin become 0.1 and 1, near small, clipped there. AbsRel needs a
  positive depth that does not hide relief behind the camera's distance, and this frame gives one.
* ``paper``: q2 and q98 become 0 and 1, clipped there; pixels under 0.01 are left out, because a relative error has no
  value at 0. arXiv 2501.08649 does not say its frame; this is our reconstruction, in which its three figures can be
  those of one model (docs/benchmarks.md).
* ``metric``: millimetres along the camera axis. A face is 100 mm of relief behind 500 mm and more of air, so AbsRel and
  delta1 say little here (delta1 is 1.000 even for a flat plane); read RMSE.

A prediction p may be in any affine frame, larger = farther. Per picture, with s and t the least-squares solution of
``min sum_mask (s p + t - d*)^2`` (the alignment of MiDaS, Ranftl et al. 2020; named ``scale_shift``), d = s p + t and

* AbsRel = mean_mask ``|d - d*| / d*``
* delta1 = share of mask with ``max(d / d*, d* / d) < 1.25``
* RMSE = root of mean_mask ``(d - d*)^2``, in the frame's unit

A figure over a data set is the mean over its pictures. s is free to be negative, as in the literature: relief that is
inside out earns credit, so whoever reports should count negative scales.

Shapes: B pictures, H x W pixels. Masks are bool; everything is computed in float64; what lies outside of a mask, NaN
included, has no influence. A picture whose mask is empty yields NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from jdap.depth import has_range, normalise

NORMALISED, PAPER, METRIC = "normalised", "paper", "metric"
DEPTH_FRAMES = (NORMALISED, PAPER, METRIC)
#: The unit of RMSE in each frame.
UNIT_OF_FRAME = {NORMALISED: "0.1-1", PAPER: "0-1", METRIC: "mm"}
SCALE_SHIFT = "scale_shift"
#: Where q2 and q98 lie in the normalised frame.
NEAR, FAR = 0.1, 1.0
#: Where q2 and q98 lie in the frames that are no millimetres.
FRAME_ENDS = {NORMALISED: (NEAR, FAR), PAPER: (0.0, 1.0)}
#: Pixels of the paper's frame that are nearer are left out.
PAPER_LEAST = 0.01
#: An aligned prediction is raised to this (frame's unit) before AbsRel and delta1: a ratio of a negative depth to a
#: positive one would count as under 1.25. Ground truth is never below 0.1, so a raised pixel still fails delta1.
MIN_DEPTH = 1e-3
DELTA1_RATIO = 1.25
#: A prediction whose spread is under this share of its magnitude is a constant up to float32 rounding.
_CONSTANT = 1e-6


def ground_truth(frame: str, depth_mm: Tensor, skin: Tensor, range_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Ground truth in ``frame``, and the pixels where it is measured.

    ``depth_mm`` (B, 1, H, W) with 0 = no value, ``skin`` (B, 1, H, W) bool, ``range_mm`` (B, 2) the skin's (q2, q98) →
    target (B, 1, H, W), positive on the mask, and mask (B, 1, H, W) bool: skin that has depth, in a picture that has a
    range. Raises ValueError for a frame that is not one of :data:`DEPTH_FRAMES`.
    """
    mask = skin & (depth_mm > 0) & has_range(range_mm)[:, None, None, None]
    if frame == METRIC:
        return depth_mm, mask
    if frame in FRAME_ENDS:
        target = within(frame, normalise(depth_mm, range_mm))
        return target, mask & (target >= PAPER_LEAST)
    raise ValueError(f"no depth frame is called {frame!r}; there are {', '.join(DEPTH_FRAMES)}")


def within(frame: str, depth: Tensor) -> Tensor:
    """Normalised depth in [-1, 1] in a frame of :data:`FRAME_ENDS`."""
    near, far = FRAME_ENDS[frame]
    return near + (far - near) * (depth + 1) / 2


def scale_shift(
    prediction: Tensor, target: Tensor, mask: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The least-squares scale and shift (B,), (B,) float64 that bring (B, 1, H, W) predictions to their targets.

    ``s = cov(p, d*) / var(p)`` and ``t = mean(d*) - s mean(p)`` over the mask, where pixels count by ``weight``
    (B, 1, H, W) ≥ 0 (None: all alike); a prediction that is constant on the mask has s = 0, t = mean(d*).
    Differentiable in the prediction.
    """
    p, d, m, count = _flat(prediction, target, mask)
    w = m.double()
    if weight is not None:
        w = torch.where(m, weight.flatten(1).double(), 0)
        count = w.sum(1)
    mean_p, mean_d = (w * p).sum(1) / count, (w * d).sum(1) / count
    p_centred = torch.where(m, p - mean_p[:, None], 0)
    variance = (w * p_centred.square()).sum(1) / count
    covariance = (w * p_centred * torch.where(m, d - mean_d[:, None], 0)).sum(1) / count
    constant = variance.sqrt() <= _CONSTANT * p.abs().amax(1)
    scale = torch.where(constant, 0, covariance / torch.where(constant, 1, variance))
    return scale, mean_d - scale * mean_p


def align_scale_shift(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Predictions (B, 1, H, W) after :func:`scale_shift`, whole pictures, float64."""
    scale, shift = (x[:, None, None, None] for x in scale_shift(prediction, target, mask))
    return scale * prediction.double() + shift


def absrel(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``|d - d*| / d*`` over each picture's mask → (B,) float64. The target is positive on the mask."""
    d, target_d, m, count = _flat(prediction, target, mask)
    error = (d.clamp_min(MIN_DEPTH) - target_d).abs() / torch.where(m, target_d, 1)
    return torch.where(m, error, 0).sum(1) / count


def delta1(prediction: Tensor, target: Tensor, mask: Tensor, largest: float = DELTA1_RATIO) -> Tensor:
    """Share of each picture's mask with ``max(d / d*, d* / d) < largest`` → (B,) float64; the target is > 0 there."""
    d, target_d, m, count = _flat(prediction, target, mask)
    ratio = d.clamp_min(MIN_DEPTH) / torch.where(m, target_d, 1)
    # A NaN is within no ratio, so it must not become a plain miss: it is carried through.
    within = torch.where(ratio.isnan(), ratio, (torch.maximum(ratio, 1 / ratio) < largest).to(ratio))
    return torch.where(m, within, 0).sum(1) / count


def rmse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Root of the mean of ``(d - d*)^2`` over each picture's mask → (B,) float64, in the target's unit."""
    d, target_d, _, count = _flat(prediction, target, mask)
    return ((d - target_d).square().sum(1) / count).sqrt()


DEPTH_MEASURES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "absrel": absrel,
    "delta1": delta1,
    "rmse": rmse,
}
#: delta1 with narrower ratios, for frames in which 1.25 holds everything.
STRICT_DELTAS = {f"delta_{round(100 * r)}": partial(delta1, largest=r) for r in (1.01, 1.03, 1.05)}


class _PictureMean(Metric):
    """The mean over pictures of some :data:`DEPTH_MEASURES`, after alignment; pictures with an empty mask are left out.

    States are sums (float64) and counts, so ranks and batches of any size add up to the same figure. ``left_out`` is
    the number of pictures that had nothing to measure. Without any picture, the mean is NaN.
    """

    full_state_update = False
    is_differentiable = False
    sums: Tensor
    pictures: Tensor
    left_out: Tensor

    def __init__(self, measures: Sequence[str], align: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measures, self.align = tuple(measures), align
        self.add_state("sums", torch.zeros(len(self.measures), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pictures", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("left_out", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add pictures: (B, 1, H, W) prediction and target, bool mask.

        Raises ValueError where a prediction is not finite, or a target not positive, on the mask.
        """
        if not (prediction.shape == target.shape == mask.shape) or mask.dtype != torch.bool:
            raise ValueError(
                f"prediction, target and bool mask must have one shape, got {tuple(prediction.shape)}, "
                f"{tuple(target.shape)} and {tuple(mask.shape)} {mask.dtype}"
            )
        check_finite(prediction, mask)
        if not (target[mask] > 0).all():
            raise ValueError("the target depth must be positive on the mask")
        d = align_scale_shift(prediction, target, mask) if self.align else prediction
        filled = mask.flatten(1).any(1)
        values = torch.stack([DEPTH_MEASURES[name](d, target, mask) for name in self.measures], dim=1)
        self.sums += values[filled].sum(0)
        self.pictures += filled.sum()
        self.left_out += (~filled).sum()

    def means(self) -> Tensor:
        """The means (len(measures),) float64 of what has been added."""
        return self.sums / self.pictures

    def compute(self) -> Any:
        """The mean, a scalar."""
        return self.means()[0]


class AbsRel(_PictureMean):
    """Mean :func:`absrel` over pictures; ``align=False`` takes predictions that are already in the target's frame."""

    higher_is_better = False

    def __init__(self, align: bool = True, **kwargs: Any) -> None:
        super().__init__(["absrel"], align, **kwargs)


class Delta1(_PictureMean):
    """Mean :func:`delta1` over pictures; ``align=False`` takes predictions that are already in the target's frame."""

    higher_is_better = True

    def __init__(self, align: bool = True, **kwargs: Any) -> None:
        super().__init__(["delta1"], align, **kwargs)


class RMSE(_PictureMean):
    """Mean :func:`rmse` over pictures; ``align=False`` takes predictions that are already in the target's frame."""

    higher_is_better = False

    def __init__(self, align: bool = True, **kwargs: Any) -> None:
        super().__init__(["rmse"], align, **kwargs)


class DepthMetrics(_PictureMean):
    """AbsRel, delta1 and RMSE in one of :data:`DEPTH_FRAMES`, aligned once: ``{"absrel": …, "delta1": …, "rmse": …}``.

    Fed with what :class:`jdap.batch.ImageBatch` holds::

        metrics = DepthMetrics("normalised")
        metrics.update(prediction, batch.depth_mm, batch.skin, batch.range_mm)
    """

    def __init__(self, frame: str = NORMALISED, **kwargs: Any) -> None:
        if frame not in DEPTH_FRAMES:
            raise ValueError(f"no depth frame is called {frame!r}; there are {', '.join(DEPTH_FRAMES)}")
        super().__init__(list(DEPTH_MEASURES), **kwargs)
        self.frame = frame

    def update(  # type: ignore[override]
        self, prediction: Tensor, depth_mm: Tensor, skin: Tensor, range_mm: Tensor
    ) -> None:
        """Add pictures: ``prediction`` (B, 1, H, W) in any affine frame, larger = farther; the rest as in a batch."""
        super().update(prediction, *ground_truth(self.frame, depth_mm, skin, range_mm))

    def compute(self) -> dict[str, Tensor]:
        """The three means, float64 scalars."""
        return dict(zip(self.measures, self.means(), strict=True))


def check_finite(prediction: Tensor, mask: Tensor, names: Sequence[str] | None = None) -> None:
    """Raise ValueError, naming the first picture (by ``names`` or its index), for a NaN or infinity on the mask."""
    bad = (mask & ~prediction.isfinite()).flatten(1).any(1)
    if bad.any():
        index = int(bad.nonzero()[0])
        raise ValueError(f"the predicted depth of picture {names[index] if names else index} is not finite on its mask")


def _flat(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, HW) float64 with zeros outside of the mask, the mask, and its pixel counts (B,), NaN where it is empty."""
    m = mask.flatten(1)
    count = m.sum(1).double()
    return (
        torch.where(m, prediction.flatten(1).double(), 0),
        torch.where(m, target.flatten(1).double(), 0),
        m,
        torch.where(count > 0, count, float("nan")),
    )
