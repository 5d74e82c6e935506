"""Where the edges of lips and lids are, and where they go."""

import numpy as np
import pytest

from jdap.pose.gaps import EYE_GAPS, GAPS, MOUTH_GAP, POINTS, Gap, gaps_of, gone

NO = np.zeros(POINTS)


def lens(width: float, height: float, x: float = 50.0, y: float = 40.0) -> Gap:
    """Between two parabolas that meet at the corners."""
    u = np.linspace(-1, 1, 11)
    across, down = x + u * width / 2, (1 - u * u) * height / 2
    return Gap.between(np.stack([across, y - down], 1), np.stack([across, y + down], 1))


def test_marks_are_edges_between_the_same_corners() -> None:
    for marks in GAPS:
        assert (marks.upper[0], marks.upper[-1]) == (marks.lower[0], marks.lower[-1])
    points = np.random.default_rng(0).uniform(0, 100, (478, 2))
    found = gaps_of(points)
    assert [gap.over_K2 is not None for gap in found] == [False, True, True]
    for gap, marks in zip(found, GAPS, strict=True):
        np.testing.assert_allclose(gap.upper_K2[[0, -1]], points[[marks.upper[0], marks.upper[-1]]])
    assert len(MOUTH_GAP.upper) == len(MOUTH_GAP.lower)
    assert all(len(eye.over) == 5 for eye in EYE_GAPS)


def test_how_wide_a_gap_is_whichever_way_it_lies() -> None:
    gap = lens(40.0, 12.0)
    expected = (1 - np.linspace(-1, 1, POINTS) ** 2) * 12
    np.testing.assert_allclose(gap.open_K, expected, atol=0.15)
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    turned = Gap(gap.upper_K2 @ turn.T, gap.lower_K2 @ turn.T)
    np.testing.assert_allclose(turned.open_K, gap.open_K, atol=1e-9)
    np.testing.assert_allclose(turned.scaled(2.0, np.array([5.0, 7.0])).open_K, 2 * gap.open_K, atol=1e-9)


def test_a_gap_whose_head_keeps_still_stays() -> None:
    was, head = lens(40.0, 12.0), lens(38.0, 9.0, y=41.0)
    now = gone(was, head, head, NO)
    np.testing.assert_allclose(now.open_K, was.open_K, atol=1e-9)
    np.testing.assert_allclose((now.upper_K2 + now.lower_K2) / 2, (was.upper_K2 + was.lower_K2) / 2, atol=1e-9)


@pytest.mark.parametrize("head", [9.0, 15.0])
def test_lips_meet_when_the_heads_do_though_it_was_a_little_off(head: float) -> None:
    was, before = lens(40.0, 12.0), lens(40.0, head)
    assert np.abs(gone(was, before, lens(40.0, 0.0), NO).open_K).max() < 1e-6
    half = gone(was, before, lens(40.0, head / 2), NO)
    np.testing.assert_allclose(half.open_K, was.open_K / 2, atol=0.01)
    wider = gone(was, before, lens(40.0, head + 6), NO)
    np.testing.assert_allclose(wider.open_K.max(), was.open_K.max() + 6, atol=0.01)


def test_lids_that_the_head_cannot_shut_are_shut_where_it_is_as_shut_as_it_gets() -> None:
    def eye(height: float) -> Gap:
        gap = lens(30.0, height)
        return Gap(gap.upper_K2, gap.lower_K2, gap.upper_K2 - [0.0, 15.0])

    least = eye(2.0)
    now = gone(eye(10.0), eye(9.0), least, least.open_K)
    assert np.abs(now.open_K).max() < 1e-6
    # The upper lid comes down to the lower one, which goes as the head's.
    np.testing.assert_allclose(now.lower_K2[POINTS // 2, 1], 40 + 5.0 + (1.0 - 4.5), atol=0.01)
