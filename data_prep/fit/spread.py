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
from dataclasses import dataclass

import torch
from torch import Tensor

from data_prep.head.model import MorphableModel
from data_prep.head.normals import VertexNormals
from jdap.geometry import head_rotation

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
        around_T = torch.isin(model.faces_T3, self._vertices_R).any(1)
        self._normals = VertexNormals(model.faces_T3[around_T], len(model.mean_V3))

    def of(self, covariance_KK: Tensor) -> SpreadOf:
        """The spread of heads whose first K identity coefficients have this covariance, as a
        :class:`data_prep.fit.fit.Fit` has it."""
        loose_R3K = self._modes_R3K[..., : len(covariance_KK)] @ _root(covariance_KK)
        return SpreadOf(self._vertices_R, self._normals, loose_R3K, loose_R3K @ loose_R3K.transpose(1, 2))


@dataclass(frozen=True, eq=False)
class SpreadOf:
    """What of it is the same in every frame: ``vertices_R``, and by how much these are loose: ``loose_R3K`` mm for
    independent causes of unit variance, ``covariance_R33`` mm²."""

    vertices_R: Tensor
    normals: VertexNormals
    loose_R3K: Tensor
    covariance_R33: Tensor

    def __call__(self, posed_FV3: Tensor, rotation_F3: Tensor) -> Tensor:
        """(F, V) float32 mm; 0 outside of the region. ``posed_FV3`` in camera space, millimetres."""
        which = self.vertices_R
        points_FR3, normal_FR3 = posed_FV3[:, which], self.normals(posed_FV3)[:, which]
        ray_FR3 = torch.nn.functional.normalize(points_FR3, dim=-1)
        facing_FR = -(normal_FR3 * ray_FR3).sum(-1)
        # Along the ray, and of that the part along the camera's axis.
        by_normal_FR = ray_FR3[..., 2] / facing_FR.clamp_min(LEAST_COSINE)
        seen_FR, depth_FR = facing_FR > VISIBLE, points_FR3[..., 2]
        # Normals in head axes: the modes are.
        turn_F33 = head_rotation(rotation_F3)
        variance_FR = self._identity((normal_FR3 @ turn_F33) * by_normal_FR[..., None], depth_FR, seen_FR)
        arm_FR3 = points_FR3 - points_FR3.mean(1, keepdim=True)
        by_tilt = torch.linalg.cross(arm_FR3, normal_FR3)[..., :2] * math.radians(TILT_DEG)
        tilt_FR2 = _without_scale_and_shift(by_tilt * by_normal_FR[..., None], depth_FR, seen_FR)
        variance_FR = variance_FR + tilt_FR2.square().sum(-1) + (FLOOR_MM * by_normal_FR).square()
        spread_FV = posed_FV3.new_zeros(posed_FV3.shape[:2])
        spread_FV[:, which] = variance_FR.sqrt()
        return spread_FV

    def _identity(self, along_FR3: Tensor, depth_FR: Tensor, seen_FR: Tensor) -> Tensor:
        """(F, R) mm²: variance of depth by identity, which moves it by ``along_FR3`` times the vertices' displacements,
        without what scale and shift take away: with m the displacements, s their shift and c their scale,
        |m - s - r c|² = m² - 2 m (s + r c) + |s + r c|², r the relief; m² by the vertices' own covariance."""
        relief_FR, weight_FR, power_F = _relief(depth_FR, seen_FR)
        flat = self.loose_R3K.flatten(0, 1)
        shift_FK = (weight_FR[..., None] * along_FR3).flatten(1) @ flat
        scale_FK = ((weight_FR * relief_FR)[..., None] * along_FR3).flatten(1) @ flat / power_F[:, None]
        both_F2K = torch.stack([shift_FK, scale_FK], 1)
        meets_FR23 = (both_F2K.flatten(0, 1) @ flat.T).unflatten(1, (-1, 3)).unflatten(0, (-1, 2))
        meets_FR2 = torch.einsum("fkri,fri->frk", meets_FR23, along_FR3)
        own_FR = torch.einsum("fri,rij,frj->fr", along_FR3, self.covariance_R33, along_FR3)
        ways_FR2 = torch.stack([torch.ones_like(relief_FR), relief_FR], -1)
        taken_FR = ((ways_FR2 @ (both_F2K @ both_F2K.transpose(1, 2))) * ways_FR2).sum(-1)
        return (own_FR - 2 * (meets_FR2 * ways_FR2).sum(-1) + taken_FR).clamp_min(0)


def confidence(spread_mm: Tensor) -> Tensor:
    """Confidence in [0, 1], in :data:`CONFIDENCE_LEVELS` steps, of a spread in mm; 0 where it is 0 (unknown)."""
    trust = 1 / (1 + (spread_mm / HALF_MM).square())
    return torch.where(spread_mm > 0, (trust * CONFIDENCE_LEVELS).round() / CONFIDENCE_LEVELS, 0.0)


def _root(covariance_KK: Tensor) -> Tensor:
    """A square root L, L L' = covariance; by eigenvectors, for a covariance may be singular to rounding."""
    values, vectors = torch.linalg.eigh(covariance_KK.double())
    return (vectors * values.clamp_min(0).sqrt()).float()


def _relief(depth_FR: Tensor, seen_FR: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Depth against its mean over the seen vertices (F, R), their weights (sum 1), and its variance there (F,)."""
    weight_FR = seen_FR.to(depth_FR.dtype)
    weight_FR = weight_FR / weight_FR.sum(1, keepdim=True).clamp_min(1)
    relief_FR = depth_FR - (weight_FR * depth_FR).sum(1, keepdim=True)
    return relief_FR, weight_FR, (weight_FR * relief_FR.square()).sum(1).clamp_min(1e-9)


def _without_scale_and_shift(moves_FRX: Tensor, depth_FR: Tensor, seen_FR: Tensor) -> Tensor:
    """What is left of each column of displacements when its best ``a depth + b`` over the seen vertices is gone."""
    relief_FR, weight_FR, power_F = _relief(depth_FR, seen_FR)
    shift_F1X = torch.einsum("fr,frx->fx", weight_FR, moves_FRX)[:, None]
    scale_FX = torch.einsum("fr,frx->fx", weight_FR * relief_FR, moves_FRX) / power_F[:, None]
    return moves_FRX - shift_F1X - relief_FR[..., None] * scale_FX[:, None]
