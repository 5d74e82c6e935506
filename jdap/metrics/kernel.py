"""How far two sets of pictures are apart as sets: the kernel distance of their features (KID).

Bińkowski et al., "Demystifying MMD GANs", ICLR 2018 (arXiv 1801.01401): the squared maximum mean discrepancy by the
kernel k(x, y) = (x·y / E + 1)³. Pictures come in pairs, one of each set by person. So it is the mean over all i ≠ j of

    h_ij = k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(x_j, y_i)

(Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, lemma 6, equation 4): unbiased for any number of pairs, so that
two sets of one kind have 0 in the mean and below it in half of the cases. Fréchet's distance (FID) is not: of some
hundred pictures it says more of their number than of what they show.

Shapes: N pairs, E numbers of a feature, D draws.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from jdap.metrics.bootstrap import DRAWS


def kernel_terms(made_NE: Tensor, true_NE: Tensor) -> np.ndarray:
    """The h_ij above, (N, N) float64. Raises ValueError for other shapes, fewer than two pairs, and NaN or infinity."""
    if made_NE.shape != true_NE.shape or made_NE.ndim != 2 or len(made_NE) < 2:
        raise ValueError(
            f"two pairs of features or more, (N, E) each, are needed; got {tuple(made_NE.shape)} and "
            f"{tuple(true_NE.shape)}"
        )
    x, y = (features.double().cpu().numpy() for features in (made_NE, true_NE))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features must be finite")

    def kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        found: np.ndarray = (one @ other.T / one.shape[1] + 1) ** 3
        return found

    across = kernel(x, y)
    return kernel(x, x) + kernel(y, y) - across - across.T


def kernel_distance(terms_NN: np.ndarray) -> float:
    """The mean of h_ij over all i ≠ j."""
    count = len(terms_NN)
    return float((terms_NN.sum() - np.trace(terms_NN)) / (count * (count - 1)))


def resampled_distances(terms_NN: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(D,) distances of pairs resampled with replacement; the same draws for the same number of pairs and seed.

    A pair that is drawn twice is not compared with itself: h_ii is not like others, and would put all draws beside the
    mean.
    """
    count = len(terms_NN)
    chosen_DN = np.random.default_rng(seed).integers(count, size=(draws, count))
    often_DN = np.stack([np.bincount(chosen, minlength=count) for chosen in chosen_DN]).astype(np.float64)
    apart = terms_NN - np.diag(np.diag(terms_NN))
    pairs_D = count**2 - np.square(often_DN).sum(1)  # ordered pairs of different ones; 0 where one is drawn alone
    total_D = np.einsum("dn,nm,dm->d", often_DN, apart, often_DN, optimize=True)
    return total_D[pairs_D > 0] / pairs_D[pairs_D > 0]
