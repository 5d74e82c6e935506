"""Intervals and tests of a mean over pictures when the pictures of one person are not independent."""

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


def sign_flip_p(differences: np.ndarray, groups: Sequence[str], draws: int = 10_000, seed: int = 0) -> float:
    """How likely a mean at least as far from 0 is if every person's ``differences`` (N,) could as well be the other way
    round: a randomisation test, two-sided, that turns the signs of whole groups (N names) by chance.

    All 2^G turns where there are no more of them than ``draws``, else so many drawn ones and the one that was seen, so
    that p is never 0 (Phipson and Smyth 2010). NaN for fewer than two groups.
    """
    names, member_N = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return float("nan")
    sums_G = np.bincount(member_N, weights=np.asarray(differences, dtype=np.float64))
    seen = abs(sums_G.sum()) * (1 - 1e-12)
    if 2 ** len(names) <= draws:
        signs = 1 - 2 * (np.arange(2 ** len(names))[:, None] >> np.arange(len(names)) & 1)
        return float((np.abs(signs @ sums_G) >= seen).mean())
    signs = np.random.default_rng(seed).integers(2, size=(draws, len(names))) * 2 - 1
    return float(((np.abs(signs @ sums_G) >= seen).sum() + 1) / (draws + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values that hold for all tests together (Holm 1979), in the order given; NaN stays NaN and is no test."""
    p = np.asarray(p_values, dtype=np.float64)
    found, order = np.full(len(p), np.nan), np.argsort(p, kind="stable")
    order = order[~np.isnan(p[order])]
    steps = p[order] * (len(order) - np.arange(len(order)))
    found[order] = np.maximum.accumulate(steps).clip(max=1)
    return found.tolist()
