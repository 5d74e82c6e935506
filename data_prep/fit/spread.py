"""How far fitted depth is off, pixel by pixel, as far as the fit itself can tell.

Depth at a pixel moves by a surface's displacement along its normal over the cosine between normal and ray. Displaced is
it by what the landmarks leave open, three independent things:

* identity, by its posterior covariance (the inverse of the Gauss-Newton Hessian after the frames were eliminated);
* tilt: pitch and yaw, :data:`TILT_DEG` each, about the face's middle;
* what a linear model of bare heads cannot draw, :data:`FLOOR_MM` everywhere.

Depth counts up to scale and shift, so of each of the first two the part that scale and shift of the visible face take
away is taken away (least squares over its vertices). The root of the sum of squares is the spread, and the confidence

    c = 1 / (1 + (spread / HALF_MM)^2),

the weight that inverse variance gives a pixel beside one whose error is HALF_MM. Expressions are left out: with them
the spread ranks true errors no better (docs/fitting.md).

Shapes: F frames, R vertices of the face's region, V of the head, K identity modes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from data_prep.head.model import MorphableModel
from data_prep.head.normals import VertexNormals
from jdap.geometry import HEAD_TO_VIEWER, axis_angle_to_matrix

#: Pose errors of landmark fits against true poses are 1 to 3 degrees.
TILT_DEG = 2.0
FLOOR_MM = 1.0
#: An error at which depth counts half: about that of fits on the whole.
HALF_MM = 3.0
#: Cosines between normal and ray count as this at least: seen more obliquely, pixels are the contour's.
LEAST_COSINE = 0.15
#: Vertices count as visible from this cosine on.
VISIBLE = 0.2
#: Confidence is stored in so many steps: fewer make smaller files.
CONFIDENCE_LEVELS = 15


class DepthSpread:
    """The spread of depth over the believed region ``region_T`` bool of a model's triangles."""

    def __init__(self, model: MorphableModel, region_T: Tensor) -> None:
        self._vertices_R = model.faces_T3[region_T].unique()
        # (R, 3, K): one product takes normals to displacements.
        self._modes_R3K = model.identity_KV3[:, self._vertices_R].permute(1, 2, 0).contiguous()
        self._normals = VertexNormals(model.faces_T3, len(model.mean_V3))

    def __call__(self, posed_FV3: Tensor, rotation_F3: Tensor, covariance_KK: Tensor) -> Tensor:
        """(F, V) float32 mm; 0 outside of the region. ``posed_FV3`` in camera space, millimetres.

        ``covariance_KK``: of the first K identity coefficients, as :class:`data_prep.fit.fit.Fit` has it.
        """
        which = self._vertices_R
        points_FR3, normal_FR3 = posed_FV3[:, which], self._normals(posed_FV3)[:, which]
        ray_FR3 = torch.nn.functional.normalize(points_FR3, dim=-1)
        facing_FR = -(normal_FR3 * ray_FR3).sum(-1)
        turn_F33 = axis_angle_to_matrix(rotation_F3) * rotation_F3.new_tensor(HEAD_TO_VIEWER)
        # Normals in head axes: the modes are.
        modes_R3K = self._modes_R3K[..., : len(covariance_KK)]
        by_mode = torch.einsum("fri,rik->frk", normal_FR3 @ turn_F33, modes_R3K @ _root(covariance_KK))
        arm_FR3 = points_FR3 - points_FR3.mean(1, keepdim=True)
        by_tilt = torch.linalg.cross(arm_FR3, normal_FR3)[..., :2] * math.radians(TILT_DEG)
        # Along the ray, and of that the part along the camera's axis.
        by_normal_FR = ray_FR3[..., 2] / facing_FR.clamp_min(LEAST_COSINE)
        moves_FRX = torch.cat([by_mode, by_tilt], -1) * by_normal_FR[..., None]
        left_FRX = _without_scale_and_shift(moves_FRX, points_FR3[..., 2], facing_FR > VISIBLE)
        variance_FR = left_FRX.square().sum(-1) + (FLOOR_MM * by_normal_FR).square()
        spread_FV = posed_FV3.new_zeros(posed_FV3.shape[:2])
        spread_FV[:, which] = variance_FR.sqrt()
        return spread_FV


def confidence(spread_mm: Tensor) -> Tensor:
    """Confidence in [0, 1], in :data:`CONFIDENCE_LEVELS` steps, of a spread in mm; 0 where it is 0 (unknown)."""
    trust = 1 / (1 + (spread_mm / HALF_MM).square())
    return torch.where(spread_mm > 0, (trust * CONFIDENCE_LEVELS).round() / CONFIDENCE_LEVELS, 0.0)


def _root(covariance_KK: Tensor) -> Tensor:
    """A square root L, L L' = covariance; by eigenvectors, for a covariance may be singular to rounding."""
    values, vectors = torch.linalg.eigh(covariance_KK.double())
    return (vectors * values.clamp_min(0).sqrt()).float()


def _without_scale_and_shift(moves_FRX: Tensor, depth_FR: Tensor, seen_FR: Tensor) -> Tensor:
    """What is left of each column of displacements when its best ``a depth + b`` over the seen vertices is gone."""
    weight_FR = seen_FR.to(moves_FRX.dtype)
    total_F1 = weight_FR.sum(1, keepdim=True).clamp_min(1)
    relief_FR = depth_FR - (weight_FR * depth_FR).sum(1, keepdim=True) / total_F1
    shift_F1X = torch.einsum("fr,frx->fx", weight_FR, moves_FRX)[:, None] / total_F1[..., None]
    power_F = (weight_FR * relief_FR.square()).sum(1).clamp_min(1e-6)
    scale_FX = torch.einsum("fr,frx->fx", weight_FR * relief_FR, moves_FRX) / power_F[:, None]
    return moves_FRX - shift_F1X - relief_FR[..., None] * scale_FX[:, None]
