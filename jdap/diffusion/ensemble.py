"""Several draws of one depth map as one, with what they disagree on.

Shapes: B pictures, K draws, H x W pixels, N = H · W.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: A map whose spread is under this share of the normalised frame's unit is a constant: it has no scale.
_CONSTANT = 1e-6


def align(depth_KB1HW: Tensor) -> Tensor:
    """Draws of one depth map, each brought to all the others by a scale ≥ 0 and a shift of its own, in closed form.

    Depth is known up to a scale and a shift, so draws are compared after the best ones. With c_k the draws without
    their means, those scales s_k and that common map m of unit norm are sought that minimise ``Σ_k ‖s_k c_k − m‖²``.
    For given m, s_k = <c_k, m> / ‖c_k‖²; what is left of the sum is K − Σ_k <c_k / ‖c_k‖, m>², so m is the first
    principal component of the normed draws, found from the K x K matrix of their correlations (MAXVAR canonical
    correlation, Kettenring 1971; no iteration, no first draw that the others are laid on).

    A scale and a shift of the whole that bring the mean of the aligned draws to their plain mean (least squares) keep
    the result in the normalised frame that the draws share; where they agree, nothing changes. A draw without relief,
    or with it inside out, becomes constant.

    Args:
        depth_KB1HW: (K, B, 1, H, W) float.

    Returns:
        The aligned draws, of the same shape and type; computed in float64.
    """
    draws_BKN = depth_KB1HW.double().flatten(2).transpose(0, 1)
    mean_BK1 = draws_BKN.mean(2, keepdim=True)
    centred = draws_BKN - mean_BK1
    norm_BK1 = centred.norm(dim=2, keepdim=True)
    flat_BK1 = norm_BK1 <= _CONSTANT * draws_BKN.shape[2] ** 0.5
    normed = torch.where(flat_BK1, 0, centred / torch.where(flat_BK1, 1, norm_BK1))
    _, vectors = torch.linalg.eigh(normed @ normed.transpose(1, 2))
    common_B1N = (vectors[:, :, -1:] * normed).sum(1, keepdim=True)
    plain_B1N = centred.mean(1, keepdim=True)
    common_B1N = common_B1N * _inner(common_B1N, plain_B1N).sign()  # eigenvectors leave the sign open
    scaled = (_inner(normed, common_B1N) / torch.where(flat_BK1, 1, norm_BK1)).clamp_min(0) * centred
    together_B1N = scaled.mean(1, keepdim=True)
    power = _inner(together_B1N, together_B1N)
    scaled = scaled * torch.where(power > 0, _inner(together_B1N, plain_B1N) / power, 0)
    aligned = scaled + mean_BK1.mean(1, keepdim=True)
    return aligned.transpose(0, 1).reshape(depth_KB1HW.shape).to(depth_KB1HW.dtype)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(2, keepdim=True)


def combine(depth_KB1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, 1, H, W) over :func:`align`-ed draws (K, B, 1, H, W), K ≥ 2.

    The deviation (with K − 1 beneath) is in the unit of the depth. It tells how far draws differ, not how far they
    are off together.
    """
    aligned = align(depth_KB1HW)
    return aligned.mean(0), aligned.std(0)
