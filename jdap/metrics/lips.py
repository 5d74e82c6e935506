"""Lip sync: how well the opening of a drawn mouth follows the true one, a clip at a time.

A curve is the opening between the lips, a frame a number. What a mouth looks like at rest, and how it was measured,
are an offset and a scale of the whole curve: Pearson's correlation within a clip removes both. A lag says by how many
frames the drawn mouth comes late; the amplitude, whether it moves as much as it should.

Frames where either curve is NaN have no influence. A drawn curve that is constant follows nothing: its correlation is
0. A true curve that is constant (nobody speaks) cannot be followed: NaN, as where fewer than three frames are left.

Shapes: B clips, F frames, L lags.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_LAG = 5
#: Fewer frames than this have no correlation.
MIN_FRAMES = 3
#: A curve whose deviation is under this share of its magnitude is constant up to the rounding of a float32 network.
_CONSTANT = 1e-4


def lagged_correlation(made_BF: Tensor, true_BF: Tensor, max_lag: int = MAX_LAG) -> Tensor:
    """Pearson's correlation (B, 2 max_lag + 1) float64 of ``made[f + lag]`` with ``true[f]``, lags −max_lag … max_lag.

    At a positive lag the drawn mouth is late. Means are those of the frames that overlap.
    """
    _check(made_BF, true_BF)
    found = []
    for lag in range(-max_lag, max_lag + 1):
        count = max(0, made_BF.shape[1] - abs(lag))
        made = made_BF[:, max(0, lag) :][:, :count]
        true = true_BF[:, max(0, -lag) :][:, :count]
        found.append(_pearson(made, true))
    return torch.stack(found, 1)


def correlation(made_BF: Tensor, true_BF: Tensor) -> Tensor:
    """Pearson's correlation (B,) float64 of curves with the true ones, as they lie in time."""
    return lagged_correlation(made_BF, true_BF, 0)[:, 0]


def best_lag(made_BF: Tensor, true_BF: Tensor, max_lag: int = MAX_LAG) -> tuple[Tensor, Tensor]:
    """The lag (B,) int64 in frames with the highest correlation, and that correlation (B,) float64.

    Of equal ones the lag nearest to 0 is taken, so that a constant curve has none. The best of many lags is above 0 by
    chance alone: compare it with that of another clip's sound. Where there is no correlation the lag is 0.
    """
    found = lagged_correlation(made_BF, true_BF, max_lag)
    nearest_first = torch.tensor(sorted(range(-max_lag, max_lag + 1), key=abs), device=found.device)
    ordered = found[:, nearest_first + max_lag]
    best = ordered.nan_to_num(nan=-2.0).argmax(1)
    value = ordered.gather(1, best[:, None])[:, 0]
    return torch.where(value.isnan(), 0, nearest_first[best]), value


def amplitude_ratio(made_BF: Tensor, true_BF: Tensor) -> Tensor:
    """Standard deviation of the drawn curve over that of the true one (B,) float64; 1 = it moves as much.

    Of curves in one unit. Noise of the measurement counts as motion: beside it stands what a still mouth gives.
    """
    _check(made_BF, true_BF)
    made, true, kept = _both(made_BF, true_BF)
    deviation_made, deviation_true = _deviation(made, kept), _deviation(true, kept)
    return torch.where(_measurable(true, kept), deviation_made / deviation_true, torch.nan)


def _pearson(made_BF: Tensor, true_BF: Tensor) -> Tensor:
    made, true, kept = _both(made_BF, true_BF)
    product = (_centred(made, kept) * _centred(true, kept)).sum(1) / kept.sum(1)
    r = product / (_deviation(made, kept) * _deviation(true, kept))
    r = torch.where(_varies(made, kept), r, 0)
    return torch.where(_measurable(true, kept), r.clamp(-1, 1), torch.nan)


def _both(made_BF: Tensor, true_BF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both curves in float64 with 0 where either is NaN, and where neither is (B, F) bool."""
    kept = made_BF.isfinite() & true_BF.isfinite()
    return torch.where(kept, made_BF.double(), 0), torch.where(kept, true_BF.double(), 0), kept


def _centred(curve_BF: Tensor, kept_BF: Tensor) -> Tensor:
    mean = curve_BF.sum(1, keepdim=True) / kept_BF.sum(1, keepdim=True)
    return torch.where(kept_BF, curve_BF - mean, 0)


def _deviation(curve_BF: Tensor, kept_BF: Tensor) -> Tensor:
    return (_centred(curve_BF, kept_BF).square().sum(1) / kept_BF.sum(1)).sqrt()


def _varies(curve_BF: Tensor, kept_BF: Tensor) -> Tensor:
    if not curve_BF.shape[1]:
        return torch.zeros(len(curve_BF), dtype=torch.bool, device=curve_BF.device)
    return _deviation(curve_BF, kept_BF) > _CONSTANT * curve_BF.abs().amax(1)


def _measurable(true_BF: Tensor, kept_BF: Tensor) -> Tensor:
    return (kept_BF.sum(1) >= MIN_FRAMES) & _varies(true_BF, kept_BF)


def _check(made_BF: Tensor, true_BF: Tensor) -> None:
    if made_BF.ndim != 2 or made_BF.shape != true_BF.shape:
        raise ValueError(f"curves must be (B, F) of one shape, got {tuple(made_BF.shape)} and {tuple(true_BF.shape)}")
