"""Bootstrap intervals of a mean over pictures when the pictures of one person are not independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 2000
LEVEL = 0.95


def resampled_means(values: np.ndarray, groups: Sequence[str], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Means of ``values`` under resampling of whole groups with replacement (the cluster bootstrap).

    ``values`` (N,) or (N, K) finite; ``groups`` N names (people). Each draw takes as many groups as there are, with
    all of their pictures, and averages over the pictures taken → (draws,) or (draws, K). The draws depend on ``seed``
    and the set of groups only, so columns, and calls with the same groups, are paired. Raises ValueError when there
    is nothing to draw from, or a length does not fit.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0 or len(values) != len(groups):
        raise ValueError(f"one group a value is needed, got {len(values)} values and {len(groups)} groups")
    names, member_N = np.unique(np.asarray(groups), return_inverse=True)
    count_G = np.bincount(member_N).astype(np.float64)
    sums_G = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums_G, member_N, values)
    chosen_DG = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    totals = count_G[chosen_DG].sum(1)
    # One draw at a time would be slow and (draws, G, K) at once large: K is a handful, so go by column.
    columns = sums_G.reshape(len(names), -1)
    means = np.stack([columns[chosen_DG, k].sum(1) / totals for k in range(columns.shape[1])], axis=1)
    return means.reshape(draws, *values.shape[1:])


def interval(means: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval (low, high) of resampled statistics (draws,)."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def grouped_interval(
    values: np.ndarray, groups: Sequence[str], draws: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> tuple[float, float]:
    """The percentile interval of the mean of ``values`` (N,), resampling ``groups`` (N names); see above.

    A single group says nothing about how groups differ: the interval is (NaN, NaN).
    """
    if len(set(groups)) < 2:
        return float("nan"), float("nan")
    return interval(resampled_means(values, groups, draws, seed), level)
