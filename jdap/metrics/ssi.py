"""The scale-and-shift-invariant loss of depth (MiDaS, Ranftl et al., arXiv 1907.01341), one picture at a time.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jdap.metrics.depth import scale_shift

#: A picture with fewer pixels in its mask teaches nothing: a scale and a shift would explain most of them.
MIN_PIXELS = 32


def ssi_loss(
    prediction: Tensor,
    target: Tensor,
    mask: Tensor,
    confidence: Tensor | None = None,
    *,
    power: int = 1,
    gradient: float = 0.5,
    scales: int = 4,
) -> tuple[Tensor, Tensor]:
    """The loss of each picture (B,) float64, and which pictures have one (B,) bool; it is 0 for the rest.

    With s and t the least-squares scale and shift over the mask M, pixels weighted by confidence c, and the residual
    r = s p + t − d*::

        L = 1/|M| Σ_M c |r|^power  +  gradient · Σ_k 1/|M_k| Σ_{M_k} c_k |r_i − r_j|

    The second term is the multi-scale gradient matching of MiDaS: at scale k = 0 … ``scales`` − 1 every 2^k-th pixel of
    every 2^k-th row stays, M_k are the pairs of neighbours (i, j), sideways and downwards, that both lie in M, and c_k
    is the smaller confidence of the two. It keeps edges, which the first term blurs. Confidence is not divided out, as
    in :meth:`jdap.diffusion.denoiser.JointDenoiser.loss`: half trusted pulls half as hard.

    s and t are part of the function, so gradients flow through them, and L does not change when p is scaled (by more
    than 0) or shifted: nothing here keeps p in any frame. A constant p has s = 0. What lies outside of the mask has no
    influence.

    Args:
        prediction, target: (B, 1, H, W) floats, finite on the mask.
        mask: (B, 1, H, W) bool. A picture of fewer than :data:`MIN_PIXELS` has no loss.
        confidence: (B, 1, H, W) in [0, 1]; None: 1.
        power: 1 or 2.
        gradient: weight of the second term.
        scales: of the second term.

    Raises:
        ValueError: for another power, or shapes that differ.
    """
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2, got {power}")
    if not prediction.shape == target.shape == mask.shape:
        raise ValueError(
            f"prediction, target and mask must have one shape, got {tuple(prediction.shape)}, {tuple(target.shape)} "
            f"and {tuple(mask.shape)}"
        )
    has_B = mask.flatten(1).sum(1) >= MIN_PIXELS
    # Computed for every picture, so that no batch needs a branch of its own; zeros stand in where there is nothing.
    p, d = (torch.where(mask, x.double(), 0) for x in (prediction, target))
    c = torch.where(mask, 1.0 if confidence is None else confidence.double(), 0.0)
    filled = has_B & (c.flatten(1).sum(1) > 0)
    everywhere = ~filled[:, None, None, None]
    s, t = scale_shift(p, d, mask | everywhere, torch.where(everywhere, 1.0, c))
    r = s[:, None, None, None] * p + t[:, None, None, None] - d
    loss_B = _mean(c * r.abs() ** power, mask)
    if gradient:
        for k in range(scales):
            loss_B = loss_B + gradient * _differences(*(x[..., :: 2**k, :: 2**k] for x in (r, c, mask)))
    return torch.where(filled, loss_B, 0), has_B


def _differences(r: Tensor, c: Tensor, mask: Tensor) -> Tensor:
    """The mean over pairs of neighbours, sideways and downwards together → (B,)."""
    total, pairs = r.new_zeros(len(r)), mask.new_zeros(len(r), dtype=torch.long)
    for axis in (-1, -2):
        n = mask.shape[axis]
        both = mask.narrow(axis, 0, n - 1) & mask.narrow(axis, 1, n - 1)
        trust = torch.minimum(c.narrow(axis, 0, n - 1), c.narrow(axis, 1, n - 1))
        total = total + torch.where(both, trust * r.diff(dim=axis).abs(), 0).flatten(1).sum(1)
        pairs = pairs + both.flatten(1).sum(1)
    return total / pairs.clamp_min(1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp_min(1)
