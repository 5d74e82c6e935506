"""Normals where depth has ended and a person goes on: hair at the sides, neck, shoulders.

A smooth body turns away at its outline, so its normals there are those of the outline in the picture (Johnston, "Lumo:
illumination for cel animation", NPAR 2002). Between the outline and what is known x and y are a membrane.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.shape.membrane import membrane

#: How much a normal at the outline still faces the viewer, and over how many pixels the outline's own is taken.
OUTLINE_FACING, OUTLINE_REACH = 0.15, 3


def carry_on(normals_B3HW: Tensor, known_B1HW: Tensor, person_B1HW: Tensor) -> Tensor:
    """Unit normals (B, 3, H, W) of the whole person, (0, 0, 0) beside it: as given where they are known (bool).

    ``person_B1HW`` in [0, 1] says how surely a pixel is the person's; where the picture ends is no outline.
    """
    person = person_B1HW > 0.5
    # The border of the picture is padded with minus infinity, which is no background.
    edge = person & (F.max_pool2d((~person).float(), 3, stride=1, padding=1) > 0) & ~known_B1HW
    outward = torch.cat([-_slope(person_B1HW, 3), -_slope(person_B1HW, 2)], 1)
    flat = (1 - OUTLINE_FACING**2) ** 0.5 * F.normalize(outward, dim=1)
    fixed = edge | (known_B1HW & person)
    start = torch.where(edge, flat, normals_B3HW[:, :2]) * fixed
    # Across a round body x and y of its normals grow evenly, and z follows.
    filled = torch.stack([membrane(x, at[0]) if at.any() else x for x, at in zip(start, fixed, strict=True)])
    ahead = -(1 - filled.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
    made = F.normalize(torch.cat([filled, ahead], 1), dim=1) * person * fixed.flatten(1).any(1)[:, None, None, None]
    return torch.where(known_B1HW, normals_B3HW, made)


def _slope(mask_B1HW: Tensor, axis: int) -> Tensor:
    """How a mask, smoothed, rises along an axis (3: across, 2: down)."""
    smooth = F.avg_pool2d(F.pad(mask_B1HW, [OUTLINE_REACH + 1] * 4, mode="replicate"), 2 * OUTLINE_REACH + 1, stride=1)
    size = mask_B1HW.shape[axis]
    return (smooth.narrow(axis, 2, size) - smooth.narrow(axis, 0, size)).narrow(5 - axis, 1, mask_B1HW.shape[5 - axis])
