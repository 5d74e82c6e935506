"""Lights against sums over the sphere: what harmonics say is what all directions together give."""

import math

import pytest
import torch

from jdap.light.lights import Light, LightError, harmonics, irradiance, join, to_camera
from jdap.light.sources import around, from_direction, from_panorama


def directions(count: int = 20_000) -> torch.Tensor:
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * i / count, math.pi * (1 + 5**0.5) * i
    ring = (1 - z * z).sqrt()
    return torch.stack([ring * turn.cos(), ring * turn.sin(), z], 1)


def panorama(height: int = 64) -> torch.Tensor:
    """Radiance of first and second order, positive: order 2 holds all of its irradiance."""
    up = (0.5 - (torch.arange(height) + 0.5) / height) * math.pi
    across = ((torch.arange(2 * height) + 0.5) / (2 * height) - 0.5) * 2 * math.pi
    up, across = torch.meshgrid(up, across, indexing="ij")
    towards = torch.stack([across.sin() * up.cos(), -up.sin(), across.cos() * up.cos()], -1)
    return radiance(towards)


def radiance(towards: torch.Tensor) -> torch.Tensor:
    x, y, z = towards.unbind(-1)
    return torch.stack([1 + 0.5 * x - 0.3 * y, 1 - 0.4 * z + 0.2 * x * y, 1 + 0.25 * (3 * z * z - 1)], -1)


def test_the_light_of_a_panorama_is_the_sum_over_its_directions() -> None:
    normals = torch.nn.functional.normalize(torch.randn(7, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    towards = directions()
    cosine = (normals.double() @ towards.T).clamp_min(0)
    summed = (cosine @ radiance(towards)) * 4 * math.pi / len(towards) / math.pi
    found = irradiance(from_panorama(panorama()), normals.T[None, :, :, None])[0, :, :, 0].T
    torch.testing.assert_close(found, summed.float(), atol=2e-3, rtol=0)


def test_a_panorama_that_is_turned_lights_from_where_it_was_turned_to() -> None:
    bright = torch.full((32, 64, 3), 0.1)
    bright[:, 46:50] = 5.0  # 90 degrees to the right of the middle
    x, _, z = from_panorama(bright).direction()[0]
    assert x > 0.99
    assert abs(z) < 0.1
    x, _, z = from_panorama(bright, turn_deg=90).direction()[0]
    assert z < -0.99  # at the camera


def test_all_harmonics_hold_the_lamps_as_far_as_the_second_order_goes() -> None:
    light = from_direction(40, 25, strength=2.0, ambient=0.4)
    towards = directions(4000)
    true = irradiance(light, towards.float().T[None, :, :, None])[0, 0, :, 0]
    lambert = 0.4 + 2 * (towards @ light.lamps_BD3[0, 0].double()).clamp_min(0)
    basis = harmonics(towards)
    projected = torch.linalg.lstsq(basis, lambert[:, None]).solution[:, 0]
    torch.testing.assert_close(light.all_harmonics()[0, :, 0].double(), projected, atol=2e-3, rtol=0)
    assert (true - 0.4 >= 0).all()
    torch.testing.assert_close(light.direction(), light.lamps_BD3[:, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "towards"),
    [(0, 0, (0, 0, -1)), (90, 0, (1, 0, 0)), (0, 90, (0, -1, 0)), (180, 0, (0, 0, 1))],
)
def test_directions_are_as_a_viewer_sees_them(azimuth: float, elevation: float, towards: tuple[float, ...]) -> None:
    torch.testing.assert_close(
        to_camera(azimuth, elevation), torch.tensor(towards, dtype=torch.float32), atol=1e-6, rtol=0
    )


def test_a_turn_ends_where_it_began() -> None:
    lights = around(40)
    steps = torch.cat([lights.lamps_BD3, lights.lamps_BD3[:1]])[:, 0].diff(dim=0).norm(dim=1)
    assert len(lights) == 40
    assert steps.max() < 0.3
    assert lights.lamps_BD3[:, 0, 0].max() > 0.9
    assert lights.lamps_BD3[:, 0, 0].min() < -0.9


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: from_direction(0, 0, 0, 0), "zero"),
        (lambda: from_direction(0, 0, 1, 0, colour=(0, 0, 0)), "zero"),
        (lambda: from_direction(0, 0, -1), "0 or more"),
        (lambda: from_direction(float("nan"), 0), "finite"),
        (lambda: from_panorama(torch.zeros(8, 16, 3)), "black"),
        (lambda: from_panorama(torch.zeros(8, 16)), "panorama"),
        (lambda: around(0), "frame"),
    ],
)
def test_lights_that_light_nothing_are_refused(make: object, says: str) -> None:
    with pytest.raises(LightError, match=says):
        make()  # type: ignore[operator]


def test_lights_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Light(torch.zeros(1, 9, 3), torch.zeros(1, 2, 3), torch.zeros(1, 1, 3))
    with pytest.raises(ValueError, match="2 lights for 3"):
        join([from_direction(0, 0)] * 2).repeated(3)
