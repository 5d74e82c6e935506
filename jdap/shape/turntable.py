"""Pictures of a mesh from other sides.

Shapes: F frames, S x S pixels, V vertices, T triangles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from jdap.shape.mesh import TO_VIEWER, Mesh
from jdap.shape.rasterise import interpolate, rasterise

#: How far the mesh turns to either side: a depth map has no back.
WIDEST_DEG = 40.0
BEHIND_GREY = 40


def turntable(mesh: Mesh, texture_HW3: np.ndarray, frames: int, size: int, f_px: float) -> Iterator[np.ndarray]:
    """Frames (S, S, 3) uint8 of the mesh turning about its upright middle axis, to one side, the other, and back.

    ``f_px``: the camera's focal length in pixels of these frames; ``texture_HW3`` uint8 is what ``uv`` are of.
    """
    points = torch.from_numpy(mesh.vertices_mm_V3 * np.array(TO_VIEWER, np.float32))
    faces = torch.from_numpy(mesh.faces_T3)
    middle = (points.amin(0) + points.amax(0)) / 2
    uv = torch.from_numpy(mesh.uv_V2)[None]
    texture = torch.from_numpy(texture_HW3.copy()).permute(2, 0, 1)[None].float()
    camera = torch.tensor([[f_px, size / 2, size / 2]])
    for k in range(frames):
        angle = math.radians(WIDEST_DEG) * math.sin(2 * math.pi * k / frames)
        sine, cosine = math.sin(angle), math.cos(angle)
        turn = torch.tensor([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
        turned = (points - middle) @ turn.T + middle
        fragments = rasterise(turned[None], faces, camera, size, size)
        at = interpolate(fragments, faces, uv)
        grid = torch.stack([at[..., 0] * 2 - 1, 1 - at[..., 1] * 2], -1)
        seen = F.grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=False)
        colour = torch.where(fragments.mask[:, None], seen, torch.full_like(seen, BEHIND_GREY))
        yield colour[0].permute(1, 2, 0).round().byte().numpy()
