"""A picture in other light: new shading over old shading, as a ratio that keeps what is painted on the surface.

Shapes: B pictures, D lamps, H x W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.light.colour import from_light, to_light
from jdap.light.lights import Light, irradiance
from jdap.light.shadows import cast_shadows

#: No pixel becomes more than so many times brighter or darker.
MOST = 8.0
#: Old shading counts as this share of its mean at least: what lies in deep shadow has no colour to bring out.
LEAST_OLD = 0.15
#: Shadows are soft: they are found on pictures of about this side.
SHADOW_SIDE = 80


@dataclass(frozen=True, eq=False)
class Shape:
    """The shape that light falls on: ``normals_B3HW`` unit vectors, (0, 0, 0) where nothing is known;
    ``depth_mm_B1HW``, 0 = no value; ``camera_px_B3``."""

    normals_B3HW: Tensor
    depth_mm_B1HW: Tensor
    camera_px_B3: Tensor

    @property
    def known(self) -> Tensor:
        """(B, 1, H, W) bool: where there are normals."""
        return self.normals_B3HW.square().sum(1, keepdim=True) > 0


def shading(light: Light, shape: Shape) -> Tensor:
    """Irradiance (B, 3, H, W) of a shape, with the shadows that it casts on itself; 0 where nothing is known."""
    return irradiance(light, shape.normals_B3HW, shadowed(light, shape)) * shape.known


def shadowed(light: Light, shape: Shape) -> Tensor:
    """(B, D, H, W): the share of each lamp's light that arrives, found on pictures of :data:`SHADOW_SIDE` at most."""
    step = max(1, round(shape.depth_mm_B1HW.shape[-1] / SHADOW_SIDE))
    if step == 1 or not light.lamps_BD3.shape[1]:
        return cast_shadows(shape.depth_mm_B1HW, shape.camera_px_B3, light.lamps_BD3)
    middle = step // 2
    depth = shape.depth_mm_B1HW[:, :, middle::step, middle::step]
    opened = cast_shadows(depth, shape.camera_px_B3 / step, light.lamps_BD3)
    return F.interpolate(opened, shape.depth_mm_B1HW.shape[-2:], mode="bilinear", align_corners=False)


def ratio(old_B3HW: Tensor, new_B3HW: Tensor, known_B1HW: Tensor, person_B1HW: Tensor) -> Tensor:
    """(B, 3, H, W): what linear light is multiplied with, from old and new shading where they are known.

    ``person_B1HW`` in [0, 1] is how surely a pixel is the person's: where it falls to 0, and where nothing is known,
    the ratio is 1.
    """
    mean = (old_B3HW * known_B1HW).sum((2, 3), keepdim=True) / known_B1HW.sum((2, 3), keepdim=True).clamp_min(1)
    logs = (new_B3HW.clamp_min(1e-6) / torch.maximum(old_B3HW, LEAST_OLD * mean).clamp_min(1e-6)).log()
    most = math.log(MOST)
    return (logs.clamp(-most, most) * known_B1HW * person_B1HW).exp()


def relit(srgb_B3HW: Tensor, ratio_B3HW: Tensor) -> Tensor:
    """sRGB pictures in [0, 1] in other light."""
    return from_light(to_light(srgb_B3HW) * ratio_B3HW)
