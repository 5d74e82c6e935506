from __future__ import annotations

import numpy as np
import pytest
import torch

from jdap.shape.assumed import assumed_camera, assumed_range_mm
from jdap.shape.clay import clay


def test_what_faces_the_camera_is_brightest() -> None:
    side = 32
    flat = torch.full((1, 1, side, side), 0.2)
    flat[..., :4] = 1.0
    shaded = clay(flat)
    assert shaded.shape == (1, 3, side, side)
    assert (shaded[..., :4] == shaded[0, 0, 0, 0]).all()  # background
    assert shaded[0, 0, 16, 16].item() == pytest.approx(0.9, abs=1e-3)  # faces the camera
    # A plane that leans by 45 degrees has cos 45° of that light.
    near, far = assumed_range_mm()
    camera = assumed_camera(side)
    u = torch.arange(side) + 0.5
    mm = 640 / (1 - (u - camera[1]) / camera[0])
    leaning = (2 * (mm - near) / (far - near) - 1).expand(1, 1, side, side)
    inner = clay(leaning)[0, 0, 16, 14:18]
    assert inner.tolist() == pytest.approx([1.8 * np.cos(np.pi / 4) - 0.9] * 4, abs=0.02)
