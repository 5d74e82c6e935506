"""Shadows of a wall on the ground behind it, whose length geometry tells."""

import math

import pytest
import torch
from shapes import ball

from jdap.light.lights import to_camera
from jdap.light.shadows import BOUNCE, cast_shadows

HIGH_MM, FLOOR_MM = 30.0, 600.0


@pytest.mark.parametrize("elevation", [35.0, 50.0])
def test_a_wall_throws_a_shadow_of_its_height_over_the_lights_slope(elevation: float) -> None:
    size = 96
    camera = torch.tensor([[6000.0 * size / 180, size / 2, size / 2]])  # from far away: about 180 mm across
    depth = torch.full((1, 1, size, size), 6000.0)
    depth[..., 60:80] -= HIGH_MM  # a wall, from top to bottom
    # The lamp is to the right, as high above the ground as "elevation" (towards the camera).
    towards = torch.tensor([math.cos(math.radians(elevation)), 0.0, -math.sin(math.radians(elevation))])
    opened = cast_shadows(depth, camera, towards[None, None])[0, 0, size // 2]
    dark = (opened < 0.95).nonzero()[:, 0]  # its soft edge and all
    length_mm = (60 - int(dark.min())) * 180 / size
    assert int(dark.max()) < 60
    assert length_mm == pytest.approx(HIGH_MM / math.tan(math.radians(elevation)), rel=0.3)
    assert (opened[62:] == 1).all()
    assert opened.min() >= BOUNCE - 1e-6


def test_a_ball_shadows_itself_nowhere_that_faces_the_lamp() -> None:
    shape, towards = ball(), to_camera(50, 20)
    opened = cast_shadows(shape.depth_mm_B1HW, shape.camera_px_B3, towards[None, None])[:, 0]
    facing = (shape.normals_B3HW * towards[:, None, None]).sum(1) > 0.35
    assert opened[facing & shape.known[:, 0]].min() > 0.9


def test_several_lamps_are_each_what_they_are_alone() -> None:
    shape = ball()
    lamps = torch.stack([to_camera(50, 20), to_camera(-70, 10)])[None]
    both = cast_shadows(shape.depth_mm_B1HW, shape.camera_px_B3, lamps)
    for i in range(2):
        alone = cast_shadows(shape.depth_mm_B1HW, shape.camera_px_B3, lamps[:, i : i + 1])
        torch.testing.assert_close(both[:, i : i + 1], alone)
    assert cast_shadows(shape.depth_mm_B1HW, shape.camera_px_B3, lamps[:, :0]).shape == (1, 0, 64, 64)
