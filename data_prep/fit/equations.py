"""Residuals, analytic Jacobian and normal equations of the head's fit (:mod:`data_prep.fit.fit` has the objective).

With head points ``x = mean + basis c`` (c = identity and expression), ``y = R x``, camera points ``p = y + t`` and
pixels ``u = f p_xy / p_z + centre``, a small turn ``d`` on the left of R moves p by ``d cross y``, so

    du/dp = f / p_z [1, 0, -p_x / p_z; 0, 1, -p_y / p_z],   du/dd = -du/dp [y]x,   du/dt = du/dp,   du/dc = du/dp R
    basis.

A longer lens alone would make the head larger, which its distance has to undo at once: log f and distance would crawl
along a valley. So a change of log f moves the head, too: t_z grows as f does, and du/dlog f = f p_xy / p_z (1 - t_z /
p_z), which is what perspective does and nothing else.

Several tracks are one problem: their frames lie one after the other, and every frame knows its track
(:class:`data_prep.fit.layout.Layout`). Nothing is padded but the small system that is left after the frames' Jacobians
are multiplied out (:mod:`data_prep.fit.rows`).

Shapes: B tracks, M frames of all tracks, F frames of the longest, N landmarks, D pairs of them, K identity modes, E
expressions, C = K + E, P = 6 + E unknowns of a frame (turn, translation, expressions), Q = K + 1 unknowns that a
track's frames share (identity, logarithm of the focal length over the camera's).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_prep.fit.layout import Layout
from data_prep.fit.points import HeadPoints
from data_prep.fit.rows import FitRows, fill
from data_prep.fit.solve import NormalEquations
from jdap.geometry import axis_angle_to_matrix, matrix_to_axis_angle

POSE = 6
EQUATIONS_AT_ONCE = 64
#: Added to the diagonal of a coefficient that is held at its bound, in inverse variances: it does not move.
HOLD_FAST = 1e12


@dataclass(frozen=True, eq=False)
class FitState:
    """Where the fit stands: ``identity_BK``, ``log_f_B``, ``expression_ME`` in [0, 1], ``rotation_M33`` and
    ``translation_mm_M3``.

    ``rotation_M33`` takes head axes to camera axes, the flip of :data:`jdap.geometry.HEAD_TO_VIEWER` included.
    """

    identity_BK: Tensor
    log_f_B: Tensor
    expression_ME: Tensor
    rotation_M33: Tensor
    translation_mm_M3: Tensor

    def step(self, shared_BQ: Tensor, frames_MP: Tensor, layout: Layout) -> FitState:
        """The state after a step: rotations turn on the left, expressions stay within 0 … 1, and with a longer lens
        the head is farther away."""
        farther_M = shared_BQ[layout.track_M, -1].exp()
        place = torch.cat([self.translation_mm_M3[:, :2], (self.translation_mm_M3[:, 2] * farther_M)[:, None]], 1)
        return FitState(
            self.identity_BK + shared_BQ[:, :-1],
            self.log_f_B + shared_BQ[:, -1],
            (self.expression_ME + frames_MP[:, POSE:]).clamp(0, 1),
            axis_angle_to_matrix(frames_MP[:, :3]) @ self.rotation_M33,
            place + frames_MP[:, 3:POSE],
        )

    def where(self, take_B: Tensor, other: FitState, layout: Layout) -> FitState:
        """The tracks of ``take_B`` from ``other``, the rest from here."""
        take_M = take_B[layout.track_M]
        return FitState(
            torch.where(take_B[:, None], other.identity_BK, self.identity_BK),
            torch.where(take_B, other.log_f_B, self.log_f_B),
            torch.where(take_M[:, None], other.expression_ME, self.expression_ME),
            torch.where(take_M[:, None, None], other.rotation_M33, self.rotation_M33),
            torch.where(take_M[:, None], other.translation_mm_M3, self.translation_mm_M3),
        )


@dataclass(frozen=True, eq=False)
class Weights:
    """Of the objective.

    * ``whiten_MN22``: takes a landmark's residual in pixels to standard deviations (trust, and the contour's slide)
    * ``opening_MD`` 1 / px: of the distances between ``head.pairs_D2``, or None where they do not count
    * ``huber``: from how many standard deviations on the cost of a landmark or a distance grows linearly
    * ``identity_B``, ``log_f``, ``expression``: precisions (inverse variances) of the priors, ``prior_ME`` the centre
      of the expressions'
    * ``smooth_P``: precisions of the second differences over time of a frame's unknowns, or None: frames do not meet
    """

    whiten_MN22: Tensor
    opening_MD: Tensor | None
    huber: float
    identity_B: Tensor
    log_f: float
    expression: float
    prior_ME: Tensor
    smooth_P: Tensor | None


@dataclass(frozen=True, eq=False)
class FitProblem:
    """The objective of some tracks: ``landmarks_px_MN2``, ``camera_px_B3`` (f, cx, cy), the head's points, weights.

    ``mean_BN3``: of each track the points without what is fitted, mm: the mean head's, or of an identity that is held.
    """

    layout: Layout
    landmarks_px_MN2: Tensor
    camera_px_B3: Tensor
    head: HeadPoints
    weights: Weights
    mean_BN3: Tensor

    def chunks(self) -> Iterator[slice]:
        """All frames, cut so that Jacobians fit into memory."""
        frames = len(self.landmarks_px_MN2)
        return (slice(start, min(start + EQUATIONS_AT_ONCE, frames)) for start in range(0, frames, EQUATIONS_AT_ONCE))

    def focal_px(self, state: FitState, part: slice = slice(None)) -> Tensor:
        """(M,) the focal length of each frame, pixels."""
        return (self.camera_px_B3[:, 0] * state.log_f_B.exp())[self.layout.track_M[part]]

    def camera_points(self, state: FitState, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """(turned head points, camera points), (M, N, 3) mm each, of the frames of ``part``."""
        track_M = self.layout.track_M[part]
        coefficients = torch.cat([state.identity_BK[track_M], state.expression_ME[part]], 1)
        points = self.mean_BN3[track_M] + (self.head.basis_N3C.flatten(0, 1) @ coefficients.T).T.unflatten(1, (-1, 3))
        turned = points @ state.rotation_M33[part].transpose(1, 2)
        return turned, turned + state.translation_mm_M3[part, None]

    def residuals_px(self, state: FitState, part: slice = slice(None)) -> Tensor:
        """Projected model point minus landmark (M, N, 2), pixels."""
        return self._residuals_px(state, self.camera_points(state, part)[1], part)

    def _residuals_px(self, state: FitState, points_MN3: Tensor, part: slice) -> Tensor:
        centre = self.camera_px_B3[self.layout.track_M[part], None, 1:]
        pixels = points_MN3[..., :2] / points_MN3[..., 2:] * self.focal_px(state, part)[:, None, None] + centre
        return pixels - self.landmarks_px_MN2[part]

    def residuals(self, state: FitState, part: slice) -> Tensor:
        """(M, N + D, 2) in standard deviations: landmarks, then differences of pairs where they count."""
        r_px, w = self.residuals_px(state, part), self.weights
        landmarks = (w.whiten_MN22[part] @ r_px[..., None])[..., 0]
        if w.opening_MD is None:
            return landmarks
        first, second = self.head.pairs_D2.unbind(1)
        return torch.cat([landmarks, (r_px[:, first] - r_px[:, second]) * w.opening_MD[part, :, None]], 1)

    def differences(self, state: FitState) -> Tensor:
        """(B, F - 2, P): second differences over time of turn, translation and expressions, 0 behind a track's end."""
        pad = self.layout.pad
        turn = pad(state.rotation_M33)
        step = matrix_to_axis_angle((turn[:, 1:] @ turn[:, :-1].transpose(-1, -2)).flatten(0, 1))
        step = step.unflatten(0, (len(turn), -1))
        rest = pad(torch.cat([state.translation_mm_M3, state.expression_ME], 1))
        second = torch.cat([step[:, 1:] - step[:, :-1], rest[:, 2:] - 2 * rest[:, 1:-1] + rest[:, :-2]], -1)
        return torch.where(self.layout.inner()[..., None], second, 0.0)

    def cost(self, state: FitState) -> Tensor:
        """(B,) float64, the objective (half the sum of squares where nothing is an outlier)."""
        w = self.weights
        total = w.identity_B * state.identity_BK.double().square().sum(1) / 2
        total = total + w.log_f * state.log_f_B.double().square() / 2
        frames = w.expression * (state.expression_ME - w.prior_ME).double().square().sum(1) / 2
        data = []
        for part in self.chunks():
            r = self.residuals(state, part).norm(dim=-1).double()
            data.append(torch.where(r <= w.huber, r.square() / 2, w.huber * (r - w.huber / 2)).sum(1))
        total = total + self.layout.total(frames + torch.cat(data))
        if w.smooth_P is not None and self.layout.longest > 2:
            total = total + (w.smooth_P * self.differences(state).double().square()).sum((1, 2)) / 2
        return total

    def jacobian(self, state: FitState, part: slice) -> Tensor:
        """d residuals_px / d (turn, translation, expressions, identity, log f), (M, N, 2, P + Q)."""
        turned, points = self.camera_points(state, part)
        by_point, by_focal = self._by_point(state, points, part)
        by_turn, _, by_shape = self._by_head(state, part, turned, by_point, self.head.basis_N3C)
        modes = self.head.modes
        return torch.cat([by_turn, by_point, by_shape[..., modes:], by_shape[..., :modes], by_focal[..., None]], -1)

    def _by_point(self, state: FitState, points_MN3: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """du/dp (M, N, 2, 3) and du/dlog f (M, N, 2), the head moved as :meth:`FitState.step` does."""
        x, y, z = points_MN3.unbind(-1)
        zero = torch.zeros_like(z)
        focal = self.focal_px(state, part)[:, None]
        by_point = torch.stack([z, zero, -x, zero, z, -y], -1).unflatten(-1, (2, 3))
        by_point = by_point * (focal / z.square())[..., None, None]
        nearer = 1 - state.translation_mm_M3[part, 2:] / z
        return by_point, points_MN3[..., :2] * (nearer * focal / z)[..., None]

    def _by_head(
        self, state: FitState, part: slice, turned: Tensor, by_point: Tensor, basis_N3C: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """By the head's turn (M, N, 2, 3), by a point of the head (M, N, 2, 3), by its shape (M, N, 2, C)."""
        by_turn = torch.linalg.cross(turned[:, :, None].expand_as(by_point), by_point, dim=-1)
        by_head = by_point @ state.rotation_M33[part, None]
        return by_turn, by_head, torch.einsum("mnij,njc->mnic", by_head, basis_N3C)

    def _whitened(self, state: FitState, part: slice) -> FitRows:
        """Rows of weighted least squares, landmarks and then openings, with Huber's weights."""
        w, basis, modes = self.weights, self.head.basis_N3C, self.head.modes
        turned, points = self.camera_points(state, part)
        by_point, by_focal = self._by_point(state, points, part)
        r_px = self._residuals_px(state, points, part)
        r = (w.whiten_MN22[part] @ r_px[..., None])[..., 0]
        scale = _robust(r, w.huber)
        whiten = w.whiten_MN22[part] * scale[..., None, None]
        white = whiten @ by_point
        by_turn, by_head, by_shape = self._by_head(state, part, turned, white, basis)
        lines, own = r.shape[1], POSE + basis.shape[2] - modes
        openings = 0 if w.opening_MD is None else len(self.head.pairs_D2)
        table = r.new_empty(len(r), lines + openings, 2, own + 2 + modes)
        fill(
            table[:, :lines],
            [by_turn, white, by_shape[..., modes:]],
            whiten @ by_focal[..., None],
            r * scale[..., None],
            by_shape[..., :modes],
        )
        if w.opening_MD is not None:
            first, second = self.head.pairs_D2.unbind(1)
            weight = w.opening_MD[part, :, None]
            apart = (r_px[:, first] - r_px[:, second]) * weight
            scale = _robust(apart, w.huber)[..., None]
            ends, by_pair = torch.cat([first, second]), (weight * scale)[..., None]
            by_turn, _, by_shape = self._by_head(state, part, turned[:, ends], by_point[:, ends], basis[ends])
            by_turn, moved, by_shape, by_lens = (
                (x[:, :openings] - x[:, openings:]) * by_pair
                for x in (by_turn, by_point[:, ends], by_shape, by_focal[:, ends, :, None])
            )
            fill(
                table[:, lines:], [by_turn, moved, by_shape[..., modes:]], by_lens, apart * scale, by_shape[..., :modes]
            )
        return FitRows(table.flatten(1, 2), own, by_head, basis[..., :modes])

    def linearise(self, state: FitState) -> NormalEquations:
        """The Gauss-Newton system at ``state``, with Huber's function as weights."""
        w, layout = self.weights, self.layout
        tracks, shared = len(layout.lengths_B), self.head.modes + 1
        frame, cross, right = [], [], []
        prior = torch.nn.functional.pad(w.identity_B[:, None].expand(-1, shared - 1), (0, 1), value=w.log_f)
        at = torch.cat([state.identity_BK, state.log_f_B[:, None]], 1).double()
        shared_BQQ, right_BQ = torch.diag_embed(prior), -prior * at
        for part in self.chunks():
            # Sums over a track by a product with its members: in a fixed order, on a GPU too.
            member = torch.nn.functional.one_hot(layout.track_M[part], tracks).double().T
            blocks, coupled, own, of_shared, own_right = self._whitened(state, part).products(member)
            frame.append(blocks)
            cross.append(coupled)
            right.append(-own)
            shared_BQQ, right_BQ = shared_BQQ + of_shared, right_BQ - own_right
        frames, rights = torch.cat(frame), torch.cat(right)
        rights[:, POSE:] -= w.expression * (state.expression_ME - w.prior_ME).double()
        frames.diagonal(dim1=1, dim2=2)[:, POSE:] += w.expression
        rights_BFP = layout.pad(rights)
        if w.smooth_P is not None and layout.longest > 2:
            pull = w.smooth_P * self.differences(state).double()
            rights_BFP[:, 2:] -= pull
            rights_BFP[:, 1:-1] += 2 * pull
            rights_BFP[:, :-2] -= pull
        # A coefficient at a bound that descent would cross is held there: a projected Newton step (Bertsekas 1982).
        e, downhill = state.expression_ME, layout.flat(rights_BFP)[:, POSE:]
        held = ((e <= 0) & (downhill < 0)) | ((e >= 1) & (downhill > 0))
        frames.diagonal(dim1=1, dim2=2)[:, POSE:] += held * HOLD_FAST
        blocks, there = layout.pad(frames), layout.pad(torch.ones_like(layout.track_M, dtype=torch.float64))
        blocks.diagonal(dim1=2, dim2=3).add_(1 - there[..., None])
        return NormalEquations(
            blocks, layout.pad(torch.cat(cross)), shared_BQQ, rights_BFP, right_BQ, w.smooth_P, layout.inner()
        )


def _robust(residual_MN2: Tensor, huber: float) -> Tensor:
    """(M, N): the square root of Huber's weight."""
    return (huber / residual_MN2.norm(dim=-1).clamp_min(huber)).sqrt()
