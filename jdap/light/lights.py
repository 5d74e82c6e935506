"""What light falls on surfaces: second-order spherical harmonics from all around, and lamps far away.

Directions are in camera space (x right, y down, z forward) and point away from the surface. The terms are those of
shards (``light_ambient``, ``light_lamps``, ``light_power`` of :data:`jdap.shards.schema.ARRAYS`).

Shapes: B pictures, D lamps, 9 harmonics, N points, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: The series can dip below zero; irradiance is kept above this share of its mean.
LEAST_AMBIENT = 0.1
#: Light goes round the terminator of skin, which scatters it: Lambert's cosine, wrapped.
WRAP = 0.15
LUMINANCE = (0.2126, 0.7152, 0.0722)
#: What a lamp of power 1 adds to the harmonics: a clamped cosine is 1/4 + 1/2 cos + 5/16 (3 cos² − 1) / 2 + …
#: (Ramamoorthi and Hanrahan 2001, "An efficient representation for irradiance environment maps").
_CLAMPED = (1 / 4, 1 / 2, 5 / 32)


class LightError(ValueError):
    """A light that nothing can be lit with, or that cannot be told; the message says why."""


@dataclass(frozen=True, eq=False)
class Light:
    """The light of B pictures.

    * ``ambient_B93``: irradiance, linear RGB, in the basis of :func:`harmonics`
    * ``lamps_BD3``: unit vectors to the lamps; ``power_BD3``: their irradiance at normal incidence; D may be 0
    """

    ambient_B93: Tensor
    lamps_BD3: Tensor
    power_BD3: Tensor

    def __post_init__(self) -> None:
        b, d = self.ambient_B93.shape[0], self.lamps_BD3.shape[1]
        shapes = ((b, 9, 3), (b, d, 3), (b, d, 3))
        values = (self.ambient_B93, self.lamps_BD3, self.power_BD3)
        if any(tuple(v.shape) != s or not v.isfinite().all() for v, s in zip(values, shapes, strict=True)):
            raise ValueError(
                f"a light is finite (B, 9, 3), (B, D, 3), (B, D, 3), got {[tuple(v.shape) for v in values]}"
            )

    def __len__(self) -> int:
        return len(self.ambient_B93)

    def __getitem__(self, which: slice | list[int]) -> Light:
        """Some of the pictures' lights."""
        return Light(self.ambient_B93[which], self.lamps_BD3[which], self.power_BD3[which])

    def repeated(self, count: int) -> Light:
        """The one light there is, so many times. Raises ValueError where there are several."""
        if len(self) != 1:
            raise ValueError(f"{len(self)} lights for {count} pictures: give one, or one each")
        return Light(*(x.expand(count, -1, -1) for x in (self.ambient_B93, self.lamps_BD3, self.power_BD3)))

    def to(self, like: Tensor) -> Light:
        """On a tensor's device, in its type."""
        return Light(self.ambient_B93.to(like), self.lamps_BD3.to(like), self.power_BD3.to(like))

    def scaled(self, factor_B3: Tensor) -> Light:
        """So many times as bright, channel by channel."""
        factor = factor_B3[:, None]
        return Light(self.ambient_B93 * factor, self.lamps_BD3, self.power_BD3 * factor)

    def all_harmonics(self) -> Tensor:
        """(B, 9, 3): the irradiance of all of it, lamps too, in the basis of :func:`harmonics`; without shadows."""
        bands = self.ambient_B93.new_tensor([_CLAMPED[0], *[_CLAMPED[1]] * 3, *[1.0] * 5])
        x, y, z = self.lamps_BD3.unbind(-1)
        # 5/32 (3 (n·l)² − 1), written in the nine functions of n.
        second = torch.stack([6 * x * y, 6 * y * z, (3 * z * z - 1) / 2, 6 * x * z, 1.5 * (x * x - y * y)], -1)
        lobes = torch.cat([torch.ones_like(x)[..., None], y[..., None], z[..., None], x[..., None]], -1)
        lobes = torch.cat([lobes, _CLAMPED[2] * second], -1) * bands
        return self.ambient_B93 + torch.einsum("bdk,bdc->bkc", lobes, self.power_BD3)

    def direction(self) -> Tensor:
        """(B, 3) unit vectors to where most of the light comes from: the first order of its luminance."""
        luminance = self.all_harmonics() @ self.ambient_B93.new_tensor(LUMINANCE)
        return F.normalize(luminance[:, [3, 1, 2]], dim=1)


def join(lights: Sequence[Light]) -> Light:
    """Lights of as many lamps, one after the other."""
    return Light(
        *(torch.cat([getattr(one, name) for one in lights]) for name in ("ambient_B93", "lamps_BD3", "power_BD3"))
    )


def harmonics(normals: Tensor) -> Tensor:
    """(…, 3) → (…, 9): 1, y, z, x, xy, yz, 3z²−1, xz, x²−y²: real spherical harmonics less their constants."""
    x, y, z = normals.unbind(-1)
    return torch.stack([torch.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], -1)


def to_camera(azimuth_deg: float, elevation_deg: float) -> Tensor:
    """(3,) unit vector to a lamp: azimuth from the camera towards the picture's right, elevation upwards."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    across = math.cos(elevation)
    return torch.tensor(
        [across * math.sin(azimuth), -math.sin(elevation), -across * math.cos(azimuth)], dtype=torch.float32
    )


def ambient(light: Light, normals_B3HW: Tensor) -> Tensor:
    """Ambient irradiance (B, 3, H, W), kept above :data:`LEAST_AMBIENT` of its mean."""
    basis = harmonics(normals_B3HW.permute(0, 2, 3, 1))
    irradiance = torch.einsum("bhwk,bkc->bchw", basis, light.ambient_B93)
    return torch.maximum(irradiance, LEAST_AMBIENT * light.ambient_B93[:, 0, :, None, None].clamp_min(0))


def lambert(cosine: Tensor, wrap: float = WRAP) -> Tensor:
    """What arrives of a lamp at a surface that it meets at this cosine."""
    return ((cosine + wrap) / (1 + wrap)).clamp_min(0)


def irradiance(light: Light, normals_B3HW: Tensor, opened_BDHW: Tensor | None = None) -> Tensor:
    """Irradiance (B, 3, H, W) of surfaces; ``opened_BDHW``: the share of each lamp's light that is not shadowed."""
    total = ambient(light, normals_B3HW)
    cosine = torch.einsum("bchw,bdc->bdhw", normals_B3HW, light.lamps_BD3)
    falls = lambert(cosine) if opened_BDHW is None else lambert(cosine) * opened_BDHW
    return total + torch.einsum("bdhw,bdc->bchw", falls, light.power_BD3)
