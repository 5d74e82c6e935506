"""The light of a ball that is lit by a known one, with paint on it."""

import pytest
import torch
from shapes import ball

from jdap.light.colour import from_light, to_light
from jdap.light.estimate import estimate_light, skin_weight
from jdap.light.ratio import ratio, relit, shading
from jdap.light.sources import from_direction


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.rad2deg((a * b).sum(1).clamp(-1, 1).acos()))


@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 10), (50, 20), (-60, 45), (25, -30)])
def test_the_direction_is_found_and_paint_does_not_move_it(azimuth: float, elevation: float) -> None:
    shape, light = ball(), from_direction(azimuth, elevation, 0.9, 0.3)
    albedo = torch.full((1, 3, 64, 64), 0.5) * torch.tensor([1.2, 0.8, 0.6])[:, None, None]
    albedo[:, :, 20:26, 18:46] *= 0.15  # brows
    albedo[:, :, 44:48, 26:38] *= torch.tensor([1.0, 0.5, 0.5])[:, None, None]  # lips
    picture = albedo * shading(light, shape)
    skin = skin_weight(picture, shape.known)
    found = estimate_light(picture, shape.normals_B3HW, shape.depth_mm_B1HW, shape.camera_px_B3, skin)
    assert angle(found.direction(), light.direction()) < 12
    # As bright as the picture is, and in its colour.
    made, inside = shading(found, shape), skin > 0.5
    plain = torch.full((1, 3, 64, 64), 0.5) * torch.tensor([1.2, 0.8, 0.6])[:, None, None] * shading(light, shape)
    error = ((made - plain).abs() * inside).sum((2, 3)) / (plain * inside).sum((2, 3))
    assert error.max() < 0.1


def test_a_picture_without_skin_is_refused() -> None:
    shape = ball()
    nothing = torch.zeros_like(shape.depth_mm_B1HW)
    with pytest.raises(ValueError, match="too few"):
        estimate_light(torch.ones(1, 3, 64, 64), shape.normals_B3HW, shape.depth_mm_B1HW, shape.camera_px_B3, nothing)


def test_the_ratio_of_true_lights_gives_the_true_picture() -> None:
    shape = ball()
    old, new = from_direction(30, 20, 0.6, 0.3), from_direction(-40, 30, 0.8, 0.25)
    albedo = 0.3 + 0.2 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before, after = (from_light(albedo * shading(light, shape)) for light in (old, new))
    factor = ratio(shading(old, shape), shading(new, shape), shape.known, shape.known.float())
    made = relit(before, factor)
    assert ((made - after).abs() * shape.known).max() < 2e-3
    # Nobody is there: nothing changes.
    assert (ratio(shading(old, shape), shading(new, shape), shape.known, 0 * shape.depth_mm_B1HW) == 1).all()
    assert to_light(made).isfinite().all()
