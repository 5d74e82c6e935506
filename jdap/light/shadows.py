"""Shadows that a depth map casts on itself.

Shapes: B pictures, D lamps, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.geometry import unproject

#: How far towards a lamp something in the way is looked for, and in how many steps, denser near the surface.
REACH_MM, SHADOW_STEPS = 140.0, 16
#: Half the angle under which a lamp is seen, as a slope: what softens a shadow's edge with distance.
SOFTNESS = 0.2
#: A surface does not shadow itself over less than this, and nothing is thicker than that.
BIAS_MM, THICK_MM = 3.0, 120.0
#: Light that reaches a point in shadow after all, from the skin around it.
BOUNCE = 0.2


def cast_shadows(depth_mm_B1HW: Tensor, camera_px_B3: Tensor, lamps_BD3: Tensor) -> Tensor:
    """(B, D, H, W) in [:data:`BOUNCE`, 1]: the share of each lamp's light that arrives; 1 where there is no depth.

    From each point a ray is followed towards the lamp. Where it passes behind the depth map, and not farther behind
    than a head is thick, it is shadowed, the more the deeper it passes under the edge for the way it has gone.
    ``depth_mm_B1HW``: 0 = no value, which casts no shadow.
    """
    points = unproject(depth_mm_B1HW, camera_px_B3)
    has = depth_mm_B1HW[:, 0] > 0
    height, width = depth_mm_B1HW.shape[-2:]
    # Beyond what is known lies nothing: far behind everything.
    far = torch.where(depth_mm_B1HW > 0, depth_mm_B1HW, depth_mm_B1HW.amax((1, 2, 3), keepdim=True) + 10 * THICK_MM)
    f, cx, cy = (value[:, None, None, None] for value in camera_px_B3.unbind(1))
    shares = (torch.arange(1, SHADOW_STEPS + 1, device=points.device) / SHADOW_STEPS) ** 1.5
    opened = points.new_ones(*lamps_BD3.shape[:2], height, width)
    for way in (REACH_MM * shares).tolist():
        x, y, z = (points[:, None] + way * lamps_BD3[..., None, None]).unbind(2)
        at = torch.stack([(f * x / z + cx) / width, (f * y / z + cy) / height], -1) * 2 - 1
        seen = F.grid_sample(far, at.flatten(1, 2), mode="bilinear", padding_mode="border", align_corners=False)
        under = z - seen[:, 0].view_as(z) - BIAS_MM
        blocked = (under / (SOFTNESS * way + 1)).clamp(0, 1) * (under < THICK_MM)
        opened = torch.minimum(opened, 1 - blocked)
    return torch.where(has[:, None], BOUNCE + (1 - BOUNCE) * opened, torch.ones_like(opened))
