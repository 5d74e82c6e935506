"""KID against torchmetrics' and against the definition, pair by pair."""

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from jdap.metrics.bootstrap import interval
from jdap.metrics.kernel import kernel_distance, kernel_terms, resampled_distances

N, E = 12, 5


def sets(seed: int = 0, count: int = N, off: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, E, generator=generator, dtype=torch.float64) + off, torch.randn(
        count, E, generator=generator, dtype=torch.float64
    )


def test_it_is_torchmetrics_but_for_pairs_of_one_person():
    made, true = sets(off=0.3)
    theirs = float(poly_mmd(made, true, degree=3, gamma=None, coef=1.0))
    across = (made @ true.T / E + 1) ** 3
    # theirs has the pairs of one person in the mean across; ours has not
    apart = (across.sum() - across.trace()) / (N * (N - 1))
    assert kernel_distance(kernel_terms(made, true)) == pytest.approx(float(theirs + 2 * across.mean() - 2 * apart))


def test_it_is_the_definition():
    made, true = sets(1, off=0.5)

    def k(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one @ other / E + 1) ** 3)

    found = [
        k(made[i], made[j]) + k(true[i], true[j]) - k(made[i], true[j]) - k(made[j], true[i])
        for i in range(N)
        for j in range(N)
        if i != j
    ]
    assert kernel_distance(kernel_terms(made, true)) == pytest.approx(np.mean(found))


def test_it_is_unbiased_even_of_few_and_where_pairs_are_alike():
    """Each made picture resembles its true fellow, as portraits of a person do."""
    rng = torch.Generator().manual_seed(2)
    found = []
    for seed in range(1500):
        made, true = sets(seed, count=6)
        alike = made + 0.5 * torch.randn(6, E, generator=rng, dtype=torch.float64)
        other = true + 0.5 * torch.randn(6, E, generator=rng, dtype=torch.float64)
        both = torch.cat([alike[:3], made[3:]]), torch.cat([made[:3], alike[3:]])  # exchangeable halves
        found.append((kernel_distance(kernel_terms(other, true + 0.0)), kernel_distance(kernel_terms(*both))))
    wider, same = np.array(found).T
    assert abs(same.mean()) < 3 * same.std() / len(same) ** 0.5
    assert wider.mean() > 3 * wider.std() / len(wider) ** 0.5  # one set is wider than the other


def test_intervals_hold_the_truth_in_nineteen_of_twenty():
    rng, truth = np.random.default_rng(3), 0.0
    held = 0
    for seed in range(200):
        made, true = sets(seed, count=60)
        low, high = interval(resampled_distances(kernel_terms(made, true), 300, int(rng.integers(1e9))))
        held += low <= truth <= high
    assert held >= 180


def test_a_pair_that_is_drawn_twice_is_not_compared_with_itself():
    made, true = sets(4, off=0.2)
    terms = kernel_terms(made, true)
    spoilt = terms + np.diag(np.full(N, 1e6))
    np.testing.assert_allclose(resampled_distances(spoilt, 50), resampled_distances(terms, 50), rtol=1e-6, atol=1e-6)
    # one draw by hand: a mean over ordered pairs of places that hold different people
    chosen = np.random.default_rng(0).integers(N, size=(50, N))[7]
    kept = [terms[i, j] for i in chosen for j in chosen if i != j]
    assert resampled_distances(terms, 50)[7] == pytest.approx(np.mean(kept))


@pytest.mark.parametrize(
    ("made", "true", "says"),
    [
        (torch.zeros(3, 2), torch.zeros(4, 2), "two pairs"),
        (torch.zeros(1, 2), torch.zeros(1, 2), "two pairs"),
        (torch.full((3, 2), torch.nan), torch.zeros(3, 2), "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(made, true, says):
    with pytest.raises(ValueError, match=says):
        kernel_terms(made, true)
