"""Normals of a depth map, with its edges kept.

Shapes: B pictures, H x W pixels, K places of a window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.geometry import unproject

#: Neighbours whose depth differs by more than this many times their distance are not one surface (80 degrees) …
STEEPEST = 5.7
#: … unless it is less than this, which is noise.
LEAST_JUMP_MM = 4.0
#: The window of smoothing has 2 · REACH + 1 pixels a side; over this many mm off a point's plane is another surface.
REACH, OFF_PLANE_MM = 2, 3.0


def is_joined(depth_mm_B1HW: Tensor, camera_px_B3: Tensor, axis: int) -> Tensor:
    """(B, 1, H, W − 1) or (B, 1, H − 1, W) bool: whether neighbours along ``axis`` (3: across, 2: down) are one
    surface. Not where either has no depth, or where it jumps."""
    size = depth_mm_B1HW.shape[axis]
    first, second = depth_mm_B1HW.narrow(axis, 0, size - 1), depth_mm_B1HW.narrow(axis, 1, size - 1)
    pixel_mm = torch.minimum(first, second) / camera_px_B3[:, 0, None, None, None]
    jump = (first - second).abs()
    return (first > 0) & (second > 0) & (jump <= (STEEPEST * pixel_mm).clamp_min(LEAST_JUMP_MM))


def edge_normals(depth_mm_B1HW: Tensor, camera_px_B3: Tensor, smooth: int = 1) -> Tensor:
    """Unit normals (B, 3, H, W) that face the camera; (0, 0, 0) where a pixel has no neighbour to make one with.

    Differences never cross a jump: beside one they are taken to the other side. ``smooth`` times each normal becomes
    the mean of those around it that lie on its plane (a bilateral filter by the distance from the plane).
    """
    points = unproject(depth_mm_B1HW, camera_px_B3)
    across = _difference(points, is_joined(depth_mm_B1HW, camera_px_B3, 3), 3)
    down = _difference(points, is_joined(depth_mm_B1HW, camera_px_B3, 2), 2)
    # y points down and z forward, so down x across points back at the camera.
    normals = F.normalize(torch.linalg.cross(down, across, dim=1), dim=1)
    for _ in range(smooth):
        normals = _smoothed(points, normals)
    return normals


def _difference(points_B3HW: Tensor, joined: Tensor, axis: int) -> Tensor:
    """The mean of the differences to both neighbours along an axis that are joined; 0 where none is."""
    size = points_B3HW.shape[axis]
    step = (points_B3HW.narrow(axis, 1, size - 1) - points_B3HW.narrow(axis, 0, size - 1)) * joined
    before, after = ((0, 0, 1, 0), (0, 0, 0, 1)) if axis == 2 else ((1, 0), (0, 1))
    count = F.pad(joined.float(), before) + F.pad(joined.float(), after)
    return (F.pad(step, before) + F.pad(step, after)) / count.clamp_min(1)


def _smoothed(points_B3HW: Tensor, normals_B3HW: Tensor) -> Tensor:
    height, width = points_B3HW.shape[-2:]
    padded_points, padded_normals = (F.pad(x, [REACH] * 4) for x in (points_B3HW, normals_B3HW))
    total = torch.zeros_like(normals_B3HW)
    for dy in range(2 * REACH + 1):
        for dx in range(2 * REACH + 1):
            point = padded_points[:, :, dy : dy + height, dx : dx + width]
            normal = padded_normals[:, :, dy : dy + height, dx : dx + width]
            off = ((point - points_B3HW) * normals_B3HW).sum(1, keepdim=True) / OFF_PLANE_MM
            near = ((dy - REACH) ** 2 + (dx - REACH) ** 2) / REACH**2
            total = total + normal * torch.exp(-0.5 * off.square() - 0.5 * near)
    has = normals_B3HW.square().sum(1, keepdim=True) > 0
    return F.normalize(total, dim=1) * has
