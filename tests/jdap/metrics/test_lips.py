import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from jdap.metrics.lips import amplitude_ratio, best_lag, correlation, lagged_correlation


def curves(clips=4, frames=40, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((clips, frames)).cumsum(1)
    made = 0.5 * true + rng.standard_normal((clips, frames)) + rng.uniform(-9, 9, (clips, 1))
    return torch.from_numpy(made), torch.from_numpy(true)


def test_correlation_is_scipys():
    made, true = curves()
    expected = [pearsonr(m, t).statistic for m, t in zip(made.numpy(), true.numpy(), strict=True)]
    assert correlation(made, true).tolist() == pytest.approx(expected, abs=1e-12)
    # An offset and a scale of either change nothing.
    assert correlation(3 * made - 7, true / 10 + 2).tolist() == pytest.approx(expected, abs=1e-12)
    assert correlation(-made, true).tolist() == pytest.approx([-r for r in expected], abs=1e-12)


@pytest.mark.parametrize("lag", [-4, 0, 3])
def test_a_late_mouth_is_found_late(lag):
    """``made[f] = true[f − lag]``."""
    long = curves(frames=60)[1]
    true = long[:, 10:50]
    made = long[:, 10 - lag : 50 - lag]
    found, r = best_lag(made, true)
    assert found.tolist() == [lag] * 4
    assert r.tolist() == pytest.approx([1] * 4)


def test_each_lag_is_the_correlation_of_what_overlaps():
    made, true = curves(clips=1)
    table = lagged_correlation(made, true, 2)[0].tolist()
    m, t = made[0].numpy(), true[0].numpy()
    expected = [pearsonr(m[: 40 - 2], t[2:])[0], pearsonr(m[:39], t[1:])[0], pearsonr(m, t)[0]]
    expected += [pearsonr(m[1:], t[:39])[0], pearsonr(m[2:], t[:38])[0]]
    assert table == pytest.approx(expected, abs=1e-12)


def test_a_still_mouth_follows_nothing():
    _, true = curves()
    still = torch.full_like(true, 1 / 3).float()
    assert correlation(still, true).tolist() == [0] * 4
    lag, r = best_lag(still, true)
    assert lag.tolist() == [0] * 4
    assert r.tolist() == [0] * 4
    assert amplitude_ratio(still, true).tolist() == pytest.approx([0] * 4, abs=1e-6)


def test_where_nobody_speaks_nothing_is_measured():
    made, _ = curves()
    silent = torch.zeros_like(made)
    assert correlation(made, silent).isnan().all()
    assert amplitude_ratio(made, silent).isnan().all()
    lag, r = best_lag(made, silent)
    assert lag.tolist() == [0] * 4
    assert r.isnan().all()
    assert correlation(made[:, :2], made[:, :2]).isnan().all()
    assert lagged_correlation(made[:, :3], made[:, :3], 5).shape == (4, 11)


def test_frames_without_a_number_have_no_influence():
    made, true = curves(clips=1)
    gap = made.clone()
    gap[0, 5] = torch.nan
    true_gap = true.clone()
    true_gap[0, 20:23] = torch.nan
    kept = np.setdiff1d(np.arange(40), [5, 20, 21, 22])
    m, t = made[0].numpy()[kept], true[0].numpy()[kept]
    assert correlation(gap, true_gap).item() == pytest.approx(pearsonr(m, t)[0])
    assert amplitude_ratio(gap, true_gap).item() == pytest.approx(m.std() / t.std())


def test_amplitude_is_the_ratio_of_deviations():
    made, true = curves()
    expected = made.numpy().std(1) / true.numpy().std(1)
    assert amplitude_ratio(made, true).tolist() == pytest.approx(expected.tolist())


def test_curves_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="curves must be"):
        correlation(torch.zeros(2, 3), torch.zeros(2, 4))
