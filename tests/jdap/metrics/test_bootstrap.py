import numpy as np
import pytest
import scipy.stats

from jdap.metrics.bootstrap import grouped_interval, resampled_means


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
