"""How a head looks, in degrees."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from jdap.geometry import HEAD_TO_VIEWER
from jdap.pose.change import Change
from jdap.pose.motion import degrees


@pytest.mark.parametrize("turn", [(20, 0, 0), (0, -15, 0), (0, 0, 25), (-30, 10, 12)])
def test_how_a_head_looks(turn):
    yaw, pitch, roll = turn
    # Roll in the picture first, then up, then round: scipy's own matrices.
    looks = Rotation.from_euler("y", -yaw, degrees=True) * Rotation.from_euler("x", -pitch, degrees=True)
    looks *= Rotation.from_euler("z", roll, degrees=True)
    rotation = torch.from_numpy(looks.as_matrix()).float() * torch.tensor(HEAD_TO_VIEWER)
    assert degrees(rotation) == pytest.approx(turn, abs=0.01)


def test_a_single_turn_is_what_was_said():
    for name in ("yaw", "pitch", "roll"):
        rotation = Change(**{name: 17.0}).rotation() * torch.tensor(HEAD_TO_VIEWER)
        assert degrees(rotation) == pytest.approx([17.0 * (name == n) for n in ("yaw", "pitch", "roll")], abs=0.01)
