"""Residuals, analytic Jacobian and Schur complement of the morphable head's fit (:mod:`data_prep.fit` has the
objective).

With head points ``x = mean + basis c`` (c = identity and expression), ``y = R x``, camera points ``p = y + t`` and
pixels ``u = f p_xy / p_z + centre``, a small turn ``d`` on the left of R moves p by ``d cross y``, so

    du/dp = f / p_z [1, 0, -p_x / p_z; 0, 1, -p_y / p_z],   du/dd = -du/dp [y]x,   du/dt = du/dp,   du/dc = du/dp R
    basis.

Shapes: F frames, N landmarks, K identity modes, E expressions, C = K + E, P = 6 + E unknowns of a frame (turn,
translation, expressions).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_prep.correspondence import Correspondence
from data_prep.morphable import MorphableModel
from jdap.geometry import axis_angle_to_matrix

POSE = 6
CHUNK = 64
#: Added to the diagonal of a coefficient that is held at its bound, in inverse variances: it does not move.
HELD = 1e12


@dataclass(frozen=True, eq=False)
class HeadPoints:
    """The landmarks' points on the head as a linear model: ``mean_N3`` mm and ``basis_N3C`` mm per unit, C = K + E."""

    mean_N3: Tensor
    basis_N3C: Tensor
    modes: int

    @classmethod
    def of(cls, model: MorphableModel, correspondence: Correspondence, modes: int) -> HeadPoints:
        """The points of a model with its first ``modes`` identity modes (all, if it has fewer) and expressions."""
        modes = min(modes, len(model.identity_KV3))
        basis = torch.cat([model.identity_KV3[:modes], model.expression_EV3])
        points = correspondence.points(basis)
        return cls(correspondence.points(model.mean_V3[None])[0], points.permute(1, 2, 0).contiguous(), modes)


@dataclass(frozen=True, eq=False)
class State:
    """Where the fit stands: ``identity_K``, ``expression_FE`` in [0, 1], ``rotation_F33``, ``translation_mm_F3``.

    ``rotation_F33`` takes head axes to camera axes, the flip of :data:`data_prep.morphable.HEAD_TO_VIEWER` included.
    """

    identity_K: Tensor
    expression_FE: Tensor
    rotation_F33: Tensor
    translation_mm_F3: Tensor

    def step(self, identity_K: Tensor, frames_FP: Tensor) -> State:
        """The state after a step: rotations turn on the left, expressions stay within 0 … 1."""
        return State(
            self.identity_K + identity_K,
            (self.expression_FE + frames_FP[:, POSE:]).clamp(0, 1),
            axis_angle_to_matrix(frames_FP[:, :3]) @ self.rotation_F33,
            self.translation_mm_F3 + frames_FP[:, 3:POSE],
        )


@dataclass(frozen=True, eq=False)
class Weights:
    """Of the objective: ``landmark_FN`` in 1 / px (trust and standard deviation), ``huber`` in standard deviations,
    precisions (inverse variances) of the priors, ``prior_FE`` the centre of the expression prior.
    """

    landmark_FN: Tensor
    huber: float
    identity_precision: float
    expression_precision: float
    prior_FE: Tensor


@dataclass(frozen=True, eq=False)
class Problem:
    """The objective of a clip: ``landmarks_px_FN2``, ``camera_px_3`` = (f, cx, cy), the head's points, the weights."""

    landmarks_px_FN2: Tensor
    camera_px_3: Tensor
    head: HeadPoints
    weights: Weights

    def chunks(self) -> Iterator[slice]:
        """The clip's frames, cut so that Jacobians fit into memory."""
        frames = len(self.landmarks_px_FN2)
        return (slice(start, min(start + CHUNK, frames)) for start in range(0, frames, CHUNK))

    def camera_points(self, state: State, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """(turned head points, camera points), (F, N, 3) mm each, of the frames of ``part``."""
        expression = state.expression_FE[part]
        coefficients = torch.cat([state.identity_K.expand(len(expression), -1), expression], 1)
        points = self.head.mean_N3 + (self.head.basis_N3C.flatten(0, 1) @ coefficients.T).T.unflatten(1, (-1, 3))
        turned = points @ state.rotation_F33[part].transpose(1, 2)
        return turned, turned + state.translation_mm_F3[part, None]

    def residuals_px(self, state: State, part: slice = slice(None)) -> Tensor:
        """Projected model point minus landmark (F, N, 2), pixels."""
        _, points = self.camera_points(state, part)
        pixels = points[..., :2] / points[..., 2:] * self.camera_px_3[0] + self.camera_px_3[1:]
        return pixels - self.landmarks_px_FN2[part]

    def cost(self, state: State) -> float:
        """The objective (half the sum of squares where nothing is an outlier)."""
        w = self.weights
        total = w.identity_precision * float(state.identity_K.double().square().sum()) / 2
        total += w.expression_precision * float((state.expression_FE - w.prior_FE).double().square().sum()) / 2
        for part in self.chunks():
            r = self.residuals_px(state, part).norm(dim=-1).double() * w.landmark_FN[part]
            total += float(torch.where(r <= w.huber, r.square() / 2, w.huber * (r - w.huber / 2)).sum())
        return total

    def jacobian(self, state: State, part: slice) -> Tensor:
        """d residuals_px / d (turn, translation, expressions, identity), (F, N, 2, P + K)."""
        turned, points = self.camera_points(state, part)
        x, y, z = points.unbind(-1)
        zero = torch.zeros_like(z)
        by_point = torch.stack([z, zero, -x, zero, z, -y], -1).unflatten(-1, (2, 3)) * (
            self.camera_px_3[0] / z.square()
        ).reshape(*z.shape, 1, 1)
        by_turn = torch.linalg.cross(turned[:, :, None].expand_as(by_point), by_point, dim=-1)
        by_head = by_point @ state.rotation_F33[part, None]
        by_shape = torch.einsum("fnij,njc->fnic", by_head, self.head.basis_N3C)
        modes = self.head.modes
        return torch.cat([by_turn, by_point, by_shape[..., modes:], by_shape[..., :modes]], -1)

    def linearise(self, state: State) -> NormalEquations:
        """The Gauss-Newton system at ``state``, with Huber's function as weights."""
        w, own = self.weights, POSE + state.expression_FE.shape[1]
        frame, cross, right = [], [], []
        identity = torch.zeros(self.head.modes, self.head.modes, dtype=torch.float64, device=state.identity_K.device)
        identity_right = -w.identity_precision * state.identity_K.double()
        for part in self.chunks():
            r_px = self.residuals_px(state, part)
            r = r_px.norm(dim=-1) * w.landmark_FN[part]
            robust = w.landmark_FN[part] * (w.huber / r.clamp_min(w.huber)).sqrt()
            a = (self.jacobian(state, part) * robust[..., None, None]).flatten(1, 2)
            hessian = (a.transpose(1, 2) @ a).double()
            gradient = (a.transpose(1, 2) @ (r_px * robust[..., None]).flatten(1)[..., None])[..., 0].double()
            frame.append(hessian[:, :own, :own])
            cross.append(hessian[:, :own, own:])
            right.append(-gradient[:, :own])
            identity += hessian[:, own:, own:].sum(0)
            identity_right -= gradient[:, own:].sum(0)
        frames, rights = torch.cat(frame), torch.cat(right)
        rights[:, POSE:] -= w.expression_precision * (state.expression_FE - w.prior_FE).double()
        frames.diagonal(dim1=1, dim2=2)[:, POSE:] += w.expression_precision
        identity.diagonal().add_(w.identity_precision)
        # A coefficient at a bound that descent would cross is held there: a projected Newton step (Bertsekas 1982).
        e, downhill = state.expression_FE, rights[:, POSE:]
        held = ((e <= 0) & (downhill < 0)) | ((e >= 1) & (downhill > 0))
        frames.diagonal(dim1=1, dim2=2)[:, POSE:] += held * HELD
        return NormalEquations(frames, torch.cat(cross), identity, rights, identity_right)


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """The normal equations of a clip, float64: frame blocks (F, P, P), their coupling to identity (F, P, K), the
    identity block (K, K), and right-hand sides (F, P) and (K,).
    """

    frame_FPP: Tensor
    cross_FPK: Tensor
    identity_KK: Tensor
    right_FP: Tensor
    right_K: Tensor

    def solve(self, damping: float) -> tuple[Tensor, Tensor]:
        """The step (identity (K,), frames (F, P)), float32, with Marquardt's damping of the diagonals."""
        blocks = self.frame_FPP + damping * torch.diag_embed(self.frame_FPP.diagonal(dim1=1, dim2=2))
        factor = torch.linalg.cholesky(blocks)
        solved = torch.cholesky_solve(torch.cat([self.cross_FPK, self.right_FP[..., None]], -1), factor)
        eliminated, own = solved[..., :-1], solved[..., -1]
        schur = self.identity_KK + damping * torch.diag(self.identity_KK.diagonal())
        schur = schur - torch.einsum("fpk,fpl->kl", self.cross_FPK, eliminated)
        right = self.right_K - torch.einsum("fpk,fp->k", self.cross_FPK, own)
        identity = torch.linalg.solve(schur, right)
        return identity.float(), (own - eliminated @ identity).float()
