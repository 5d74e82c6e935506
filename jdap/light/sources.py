"""Where new light comes from: a direction, a panorama, or one turn around the head.

Shapes: H x W pixels of a panorama.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jdap.light.lights import Light, LightError, harmonics, join, to_camera

#: What a cosine kernel leaves of radiance of each order, over that of order 0 (Ramamoorthi and Hanrahan 2001).
_KERNEL = (1.0, *[2 / 3] * 3, *[1 / 4] * 5)


def from_direction(
    azimuth_deg: float,
    elevation_deg: float,
    strength: float = 1.0,
    ambient: float = 0.3,
    colour: Sequence[float] = (1.0, 1.0, 1.0),
) -> Light:
    """A lamp, and even light from all around: a light of one picture.

    Azimuth 0 is at the camera, 90 to the picture's right, ±180 behind the head; elevation 90 is above. ``colour``:
    linear RGB of the lamp. Raises :class:`LightError` where no light is left, for negative and non-finite numbers.
    """
    numbers = (azimuth_deg, elevation_deg, strength, ambient, *colour)
    if not all(math.isfinite(x) for x in numbers) or len(colour) != 3:
        raise LightError(f"a light has finite numbers and three colours, got {numbers}")
    if min(strength, ambient, *colour) < 0:
        raise LightError("strength, ambient and colour of a light must be 0 or more")
    power = torch.tensor(colour, dtype=torch.float32) * strength
    if ambient + float(power.sum()) <= 0:
        raise LightError("a light of zero: nothing would be seen; give it a strength or ambient light")
    harmonic = torch.zeros(1, 9, 3)
    harmonic[:, 0] = ambient
    return Light(harmonic, to_camera(azimuth_deg, elevation_deg)[None, None], power[None, None])


def from_panorama(radiance_HW3: Tensor, turn_deg: float = 0.0) -> Light:
    """The light of an equirectangular panorama of linear RGB, without lamps: order 2 holds no hard shadows.

    The panorama's middle is where the camera looks, behind the head; its right half lies to the picture's right.
    ``turn_deg`` turns it to the right. Even radiance 1 gives irradiance 1. Raises :class:`LightError` for what is no
    panorama, or black.
    """
    if radiance_HW3.ndim != 3 or radiance_HW3.shape[2] != 3 or min(radiance_HW3.shape[:2]) < 2:
        raise LightError(f"a panorama is (H, W, 3), got {tuple(radiance_HW3.shape)}")
    if not radiance_HW3.isfinite().all() or radiance_HW3.min() < 0 or radiance_HW3.max() <= 0:
        raise LightError("the panorama is black, or not finite: a light of zero")
    height, width = radiance_HW3.shape[:2]
    across = ((torch.arange(width) + 0.5) / width - 0.5) * 2 * math.pi + math.radians(turn_deg)
    up = (0.5 - (torch.arange(height) + 0.5) / height) * math.pi
    up, across = torch.meshgrid(up, across, indexing="ij")
    towards = torch.stack([across.sin() * up.cos(), -up.sin(), across.cos() * up.cos()], -1).double()
    basis, area = harmonics(towards), up.cos().double()[..., None]
    norm = (basis.square() * area).sum((0, 1))
    found = torch.einsum("hwk,hwc->kc", basis * area, radiance_HW3.double()) / norm[:, None]
    return Light((found * found.new_tensor(_KERNEL)[:, None]).float()[None], torch.zeros(1, 0, 3), torch.zeros(1, 0, 3))


def around(frames: int, elevation_deg: float = 20.0, strength: float = 1.0, ambient: float = 0.3) -> Light:
    """One turn of a lamp before the face and back: azimuth ±100°, a light for each of so many frames, without a jump
    from the last to the first."""
    if frames < 1:
        raise LightError(f"a turn has one frame at least, got {frames}")
    azimuths = [100 * math.sin(2 * math.pi * k / frames) for k in range(frames)]
    return join([from_direction(azimuth, elevation_deg, strength, ambient) for azimuth in azimuths])
