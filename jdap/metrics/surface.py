"""Errors of a depth map as a surface: how its normals lean, and whether its edges are where the true ones are.

Both want millimetres along the camera's axis, after alignment. Shapes: B pictures, H x W pixels. Masks are bool; what
lies outside of a mask has no influence.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.geometry import normals_from_depth

#: Jumps between neighbouring pixels that make an edge, mm: from a lip's to a nose's before a cheek.
EDGE_JUMPS_MM = (4.0, 8.0, 12.0, 16.0, 20.0)
#: An edge that is this many pixels off is found.
EDGE_REACH_PX = 1


def normal_angle_deg(prediction_mm: Tensor, target_mm: Tensor, mask: Tensor, camera_px: Tensor) -> Tensor:
    """Mean angle between predicted and true normals → (B,) float64, degrees.

    ``prediction_mm``, ``target_mm`` (B, 1, H, W), ``camera_px`` (B, 3) = (f, cx, cy). Normals are central differences
    of the points before the camera; pixels count whose four neighbours lie in the mask, too. Where the prediction is
    not in front of the camera (≤ 0) it has no normal, and the angle is 90°. NaN in a picture without such pixels.
    """
    true, made = (
        normals_from_depth(torch.where(mask, z.double().clamp_min(floor), 0), camera_px.double())
        for z, floor in ((target_mm, 0.0), (prediction_mm, 1e-9))
    )
    count = (true.abs().sum(1, keepdim=True) > 0).flatten(1)
    behind = (mask & (prediction_mm <= 0)).double()
    near_behind = F.max_pool2d(behind, 3, 1, 1).flatten(1) > 0
    # The arc cosine of numbers near 1 has half of the digits.
    sine, cosine = torch.linalg.cross(true, made, dim=1).norm(dim=1), (true * made).sum(1)
    angle = torch.where(near_behind, 90.0, torch.rad2deg(torch.atan2(sine, cosine)).flatten(1))
    n = count.sum(1).double()
    return torch.where(count, angle, 0).sum(1) / torch.where(n > 0, n, torch.nan)


def boundary_f1(
    prediction_mm: Tensor, target_mm: Tensor, mask: Tensor, jumps_mm: tuple[float, ...] = EDGE_JUMPS_MM
) -> Tensor:
    """F1 of depth edges, the mean over ``jumps_mm`` → (B,) float64 in [0, 1].

    A pixel is on an edge where depth differs from the pixel to the right or below by at least the jump, both in the
    mask. Precision is the share of predicted edge pixels with a true one within :data:`EDGE_REACH_PX` (in a square),
    recall the reverse. Depth Pro (Bochkovskii et al. 2024) takes ratios of neighbouring depths for jumps, of which a
    face half a metre away has none. A jump that is nowhere in the truth is left out; NaN where none is.
    """
    scores = []
    for jump in jumps_mm:
        made, true = (_edges(z.double(), mask, jump) for z in (prediction_mm, target_mm))
        precision, recall = _share_near(made, true), _share_near(true, made)
        score = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
        # Of edges that are not there nothing is precise.
        score = torch.where(made.flatten(1).any(1), score, 0)
        scores.append(torch.where(true.flatten(1).any(1), score, torch.nan))
    return torch.stack(scores).nanmean(0)


def _edges(depth_B1HW: Tensor, mask: Tensor, jump: float) -> Tensor:
    found = torch.zeros_like(mask)
    for axis in (2, 3):
        size = mask.shape[axis]
        both = mask.narrow(axis, 0, size - 1) & mask.narrow(axis, 1, size - 1)
        found.narrow(axis, 0, size - 1).logical_or_(both & (depth_B1HW.diff(dim=axis).abs() >= jump))
    return found


def _share_near(some: Tensor, others: Tensor) -> Tensor:
    reach = F.max_pool2d(others.double(), 2 * EDGE_REACH_PX + 1, 1, EDGE_REACH_PX) > 0
    count = some.flatten(1).sum(1).double()
    return (some & reach).flatten(1).sum(1) / count.clamp_min(1)
