"""Turns that are given, by angles that are known."""

import math

import pytest
import torch

from jdap.geometry import axis_angle_to_matrix
from jdap.pose.change import PoseError
from jdap.pose.photo import Moment, Performance
from jdap.pose.turns import turn_at, turns_of


def turning(degrees: list[float]) -> list[Moment]:
    """A head that has turned so far about the vertical axis in each frame."""
    return [Moment(None, axis_angle_to_matrix(torch.tensor([0.0, math.radians(d), 0.0]))) for d in degrees]


def degrees_of(turn_33: torch.Tensor) -> float:
    return math.degrees(math.atan2(float(turn_33[0, 2]), float(turn_33[0, 0])))


def test_turns_come_at_the_frames_that_are_made() -> None:
    found = turns_of(Performance(turning([0, 6, 12, 18, 24, 30]), 30.0), 25.0)  # 180 degrees a second
    assert [degrees_of(turn) for turn in found] == pytest.approx([0, 7.2, 14.4, 21.6, 28.8], abs=1e-2)


def test_what_does_not_move_is_refused() -> None:
    for performance in (Performance(turning([3.0])), Performance(turning([3.0]), 25.0)):
        with pytest.raises(PoseError, match="two frames"):
            turns_of(performance, 25.0)


def test_a_longer_video_goes_through_them_there_and_back() -> None:
    turns = torch.stack([moment.turn_33 for moment in turning([0, 1, 2])])
    found = [degrees_of(turn_at(turns, k)) for k in range(9)]
    assert found == pytest.approx([0, 1, 2, 1, 0, 1, 2, 1, 0], abs=1e-4)
    assert torch.equal(turn_at(turns[:1], 7), turns[0])
