import numpy as np
import pytest
import scipy.stats

from jdap.metrics.bootstrap import grouped_interval, holm, resampled_means, sign_flip_p


def test_agrees_with_scipy_when_everybody_has_one_picture() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=60)
    ours = grouped_interval(values, [f"p{i}" for i in range(60)], draws=20000, seed=1)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", random_state=2)
    assert ours == pytest.approx((theirs.confidence_interval.low, theirs.confidence_interval.high), abs=0.01)


def test_pictures_of_one_person_are_not_independent() -> None:
    # Ten people, twenty pictures each, all of a person's pictures alike: the interval is that of ten values, not 200.
    people = np.random.default_rng(0).normal(size=10)
    names = [f"p{i}" for i in range(10)]
    few = grouped_interval(people, names, seed=3)
    many = grouped_interval(np.repeat(people, 20), np.repeat(names, 20).tolist(), seed=3)
    assert many == pytest.approx(few)
    alone = grouped_interval(np.repeat(people, 20), [str(i) for i in range(200)], seed=3)
    assert alone[1] - alone[0] < 0.5 * (many[1] - many[0])


def test_unequal_groups_weigh_by_their_pictures() -> None:
    # Two people with 1 and 3 pictures: the possible means are those of {a,a}, {a,b}, {b,b}, by pictures.
    means = resampled_means(np.array([0.0, 1, 1, 1]), ["a", "b", "b", "b"], draws=500, seed=0)
    assert set(means.round(6)) == {0.0, 0.75, 1.0}
    assert np.mean(means == 0.75) == pytest.approx(0.5, abs=0.08)


def test_seeded_and_paired() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    names = [f"p{i // 3}" for i in range(30)]
    both = resampled_means(values, names, seed=5)
    np.testing.assert_array_equal(both, resampled_means(values, names, seed=5))
    np.testing.assert_array_equal(both[:, 1], resampled_means(values[:, 1], names, seed=5))
    assert not np.array_equal(both, resampled_means(values, names, seed=6))


def test_degenerate() -> None:
    assert np.isnan(grouped_interval(np.array([1.0, 2.0]), ["a", "a"])).all()
    with pytest.raises(ValueError, match="one group a value"):
        resampled_means(np.array([]), [])
    with pytest.raises(ValueError, match="one group a value"):
        resampled_means(np.array([1.0]), ["a", "b"])


def test_a_sign_flip_test_is_scipys() -> None:
    values = np.random.default_rng(2).normal(0.5, size=9)
    theirs = scipy.stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    names = [f"p{i}" for i in range(9)]
    assert sign_flip_p(values, names) == pytest.approx(theirs.pvalue)
    # Drawn turns come near, and pictures of one person turn together.
    assert sign_flip_p(values, names, draws=500) == pytest.approx(theirs.pvalue, abs=0.05)
    assert sign_flip_p(np.repeat(values, 4), np.repeat(names, 4).tolist()) == pytest.approx(theirs.pvalue)
    assert sign_flip_p(np.ones(30), [str(i) for i in range(30)]) == pytest.approx(1 / 10_001)
    assert sign_flip_p(np.zeros(30), [str(i) for i in range(30)]) == 1
    assert np.isnan(sign_flip_p(values, ["one"] * 9))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert np.isnan(holm([float("nan"), 0.01])[0])
    assert holm([float("nan"), 0.01])[1] == 0.01
