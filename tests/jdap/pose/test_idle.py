"""Sway and blinks: small, slow, repeatable, and no function of a video's length."""

import numpy as np
import pytest

from jdap.pose.change import TURNS
from jdap.pose.idle import MOST_STRENGTH, SWAY_DEG, WAVES, Idle

SECONDS = np.arange(0, 60, 0.04)


def turns(idle: Idle) -> np.ndarray:
    found = [idle.turn(time_s) for time_s in SECONDS.tolist()]
    return np.array([[one.yaw, one.pitch, one.roll] for one in found])


def test_a_video_begins_with_the_photo_as_it_is():
    assert turns(Idle(3))[0].tolist() == [0, 0, 0]


def test_sway_is_small_and_slow_and_of_its_seed():
    found = turns(Idle(3))
    assert np.abs(found).max() < 8
    assert found.std(0) == pytest.approx([2.2, 1.2, 0.9], rel=0.6)
    assert np.abs(np.diff(found, axis=0)).max() < 0.4  # degrees a frame
    np.testing.assert_array_equal(found, turns(Idle(3)))
    assert np.abs(found - turns(Idle(4))).max() > 1


def test_blinks_come_every_few_seconds_and_are_short():
    idle = Idle(1)
    shut = np.array([idle.lids(time_s) for time_s in SECONDS.tolist()])
    starts = np.flatnonzero(np.diff((shut > 0.5).astype(int)) == 1)
    assert 10 <= len(starts) <= 35
    assert shut.max() == 1
    assert (shut > 0.5).sum() / len(starts) < 8  # frames
    # Asked in another order, a moment is the same.
    again = Idle(1)
    for k in (1480, *starts[:3].tolist(), 1490):
        assert again.lids(float(SECONDS[k])) == shut[k]


def test_without_motion_nothing_moves():
    idle = Idle(1, strength=0)
    assert not turns(idle).any()
    assert not any(idle.lids(time_s) for time_s in SECONDS.tolist())


def test_no_strength_turns_a_head_farther_than_it_may_be_turned():
    for name, (spread, _) in SWAY_DEG.items():
        assert MOST_STRENGTH * spread * np.sqrt(2 * WAVES) < TURNS[name]
    for strength in (-1, MOST_STRENGTH + 0.1, float("nan")):
        with pytest.raises(ValueError, match="strength"):
            Idle(1, strength=strength)
