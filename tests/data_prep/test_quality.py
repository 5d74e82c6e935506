"""Scores and thresholds."""

import numpy as np
import pytest
import torch

from data_prep.quality import appearance, head_angles_deg, judge
from jdap.geometry import axis_angle_to_matrix, matrix_to_axis_angle


def good(frames: int = 20) -> dict[str, np.ndarray]:
    values = {"several": 0, "found": 1, "face_px": 200, "brightness": 0.5, "sharpness": 100, "fit_error": 0.005}
    return {name: np.full(frames, value, np.float32) for name, value in values.items()}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("face_px", 40, "face_px 40 is under 64"),
        ("brightness", 0.99, "brightness 0.99 is over 0.95"),
        ("fit_error", 0.05, "fit_error 0.05 is over 0.02"),
        ("several", 0.5, r"several faces in 50% of the frames"),
    ],
)
def test_reasons_name_score_and_value(name: str, value: float, reason: str) -> None:
    assert judge(good()) == ""
    assert judge({}) == ""
    assert judge(good() | {name: np.full(20, value, np.float32)}).startswith(reason)


def test_appearance_sees_blur_and_light() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (200, 200, 3)).astype(np.uint8)
    flat = np.full((200, 200, 3), 128, np.uint8)
    face = np.array([[20.0, 20.0], [180.0, 180.0]])
    sharp, light = appearance(noise, face)
    smooth, grey = appearance(flat, face)
    assert sharp > 100 * (smooth + 1)
    assert grey == pytest.approx(128 / 255, abs=0.01)
    assert light == pytest.approx(0.5, abs=0.05)
    assert np.isnan(appearance(flat, face + 500)).all()
    assert np.isfinite(appearance(flat, face + 150)).all()  # half outside


def test_angles_are_those_of_the_rotation() -> None:
    yaw, pitch, roll = 0.5, -0.2, 0.3
    turns = [[0, 0, roll], [0, yaw, 0], [pitch, 0, 0]]
    rotation = torch.eye(3)
    for turn in turns:
        rotation = rotation @ axis_angle_to_matrix(torch.tensor(turn, dtype=torch.float32))
    angles = head_angles_deg(matrix_to_axis_angle(rotation)[None])[0]
    np.testing.assert_allclose(angles, np.rad2deg([yaw, pitch, roll]), atol=5e-3)
    # The nose of a head with positive yaw points to the picture's left, with positive pitch down.
    nose = axis_angle_to_matrix(torch.tensor([0.3, 0.0, 0.0])) @ torch.tensor([0.0, 0.0, -1.0])
    assert nose[1] > 0
    nose = axis_angle_to_matrix(torch.tensor([0.0, 0.3, 0.0])) @ torch.tensor([0.0, 0.0, -1.0])
    assert nose[0] < 0
