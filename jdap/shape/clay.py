"""Depth as a picture that one can look at: clay, lit from the camera.

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jdap.shape.assumed import FARTHEST, assumed_camera, in_mm
from jdap.shape.normals import edge_normals


def clay(depth_B1SS: Tensor, farthest: float = FARTHEST) -> Tensor:
    """Normalised depth as a picture of clay lit from the camera, (B, 3, S, S) in [-1, 1], before an assumed lens.

    What lies at ``farthest`` or beyond is background, grey.
    """
    camera = assumed_camera(depth_B1SS.shape[-1]).to(depth_B1SS).expand(len(depth_B1SS), 3)
    mm = in_mm(depth_B1SS.float(), farthest=farthest)
    light = -edge_normals(mm, camera, smooth=1)[:, 2:]
    return torch.where(mm > 0, light.clamp(0, 1) * 1.8 - 0.9, 0.4).expand(-1, 3, -1, -1)
