"""Solving the normal equations of tracks: banded elimination of the frames, a small shared system, back-substitution.

Given what a track shares, a frame's unknowns meet those of the two frames before and after it alone, by the second
differences of the smoothness prior. So the frames' part is block-pentadiagonal, and its Cholesky factor has three
blocks a frame (Golub and Van Loan, "Matrix computations", section 4.3). What is left for the shared unknowns is the
Schur complement (Triggs et al., "Bundle adjustment", 2000, section 6).

Shapes: B tracks, F frames of the longest, P unknowns of a frame, Q shared ones, R = Q + 1 right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """The normal equations of tracks, float64.

    * ``frame_BFPP``: frame blocks without smoothness; the unit matrix behind a track's end
    * ``cross_BFPQ``, ``shared_BQQ``: their coupling to what is shared, and its own block
    * ``right_BFP``, ``right_BQ``: right-hand sides
    * ``smooth_P``: precisions of second differences, and ``inner_BF`` (B, F - 2) bool: which of them there are
    """

    frame_BFPP: Tensor
    cross_BFPQ: Tensor
    shared_BQQ: Tensor
    right_BFP: Tensor
    right_BQ: Tensor
    smooth_P: Tensor
    inner_BF: Tensor

    def bands(self) -> tuple[Tensor, Tensor, Tensor]:
        """Diagonal (B, F), first (B, F - 1) and second (B, F - 2) off-diagonal of D'D, D taking second differences."""
        there = self.inner_BF.double()
        frames = self.frame_BFPP.shape[1]
        diagonal = there.new_zeros(len(there), frames)
        first = there.new_zeros(len(there), max(frames - 1, 0))
        if frames > 2:
            for shift, weight in ((0, 1), (1, 4), (2, 1)):
                diagonal[:, shift : shift + frames - 2] += weight * there
            first[:, :-1] -= 2 * there
            first[:, 1:] -= 2 * there
        return diagonal, first, there

    def solve(self, damping_B: Tensor) -> tuple[Tensor, Tensor]:
        """The step (shared (B, Q), frames (B, F, P)), float32, with Marquardt's damping of the diagonals."""
        factor = Factor.of(self, damping_B)
        schur, right = self._eliminated(factor, damping_B)
        step = torch.linalg.solve(schur, right)
        return step.float(), factor.back(step).float()

    def covariance(self) -> Tensor:
        """(B, Q, Q): of what is shared, its frames' unknowns integrated out: the inverse of the Schur complement."""
        none = torch.zeros(len(self.right_BQ), dtype=torch.float64, device=self.right_BQ.device)
        return torch.linalg.inv(self._eliminated(Factor.of(self, none), none)[0])

    def _eliminated(self, factor: Factor, damping_B: Tensor) -> tuple[Tensor, Tensor]:
        """The shared system (B, Q, Q), (B, Q) that is left."""
        shared = self.shared_BQQ + damping_B[:, None, None] * torch.diag_embed(self.shared_BQQ.diagonal(dim1=1, dim2=2))
        coupled, own = factor.forward[..., :-1].flatten(1, 2), factor.forward[..., -1].flatten(1)
        schur = shared - coupled.transpose(1, 2) @ coupled
        return schur, self.right_BQ - (coupled.transpose(1, 2) @ own[..., None])[..., 0]


@dataclass(frozen=True, eq=False)
class Factor:
    """The Cholesky factor of the frames' part, frame by frame: ``own[f]`` (B, P, P) lower triangular, ``before[f]``
    its block towards frame f - 1, ``twice[f]`` towards f - 2 (None where there is none); and ``forward`` (B, F, P, R),
    the factor's inverse times (cross, right).
    """

    own: list[Tensor]
    before: list[Tensor | None]
    twice: list[Tensor | None]
    forward: Tensor

    @classmethod
    def of(cls, equations: NormalEquations, damping_B: Tensor) -> Factor:
        """Factor the frames' part, its diagonals damped."""
        diagonal, first, second = equations.bands()
        smooth = equations.smooth_P.double()
        blocks = equations.frame_BFPP + torch.diag_embed(diagonal[..., None] * smooth)
        blocks = blocks + torch.diag_embed(damping_B[:, None, None] * blocks.diagonal(dim1=2, dim2=3))
        right = torch.cat([equations.cross_BFPQ, equations.right_BFP[..., None]], -1)
        if blocks.shape[1] < 3 or not bool((smooth > 0).any()):  # frames do not meet
            own = torch.linalg.cholesky(blocks)
            alone: list[Tensor | None] = [None] * blocks.shape[1]
            return cls(list(own.unbind(1)), alone, alone, torch.linalg.solve_triangular(own, right, upper=False))
        owns, befores, twices, forwards = list[Tensor](), list[Tensor | None](), list[Tensor | None](), list[Tensor]()
        for f in range(blocks.shape[1]):
            block, b = blocks[:, f], right[:, f]
            before = twice = None
            if f > 1:
                # L(f, f-2) = S2 L(f-2)^-T, S2 diagonal.
                link = torch.diag_embed(second[:, f - 2, None] * smooth)
                twice = torch.linalg.solve_triangular(owns[f - 2], link, upper=False).transpose(1, 2)
                block = block - twice @ twice.transpose(1, 2)
                b = b - twice @ forwards[f - 2]
            if f > 0:
                link = torch.diag_embed(first[:, f - 1, None] * smooth)
                if twice is not None:
                    link = link - twice @ _there(befores[f - 1]).transpose(1, 2)
                before = torch.linalg.solve_triangular(owns[f - 1], link.transpose(1, 2), upper=False).transpose(1, 2)
                block = block - before @ before.transpose(1, 2)
                b = b - before @ forwards[f - 1]
            own = torch.linalg.cholesky(block)
            owns.append(own)
            befores.append(before)
            twices.append(twice)
            forwards.append(torch.linalg.solve_triangular(own, b, upper=False))
        return cls(owns, befores, twices, torch.stack(forwards, 1))

    def back(self, shared_BQ: Tensor) -> Tensor:
        """(B, F, P): the frames' unknowns, given the shared ones."""
        right = self.forward[..., -1] - (self.forward[..., :-1] @ shared_BQ[:, None, :, None])[..., 0]
        frames = len(self.own)
        if self.before == [None] * frames:
            own = torch.stack(self.own, 1)
            return torch.linalg.solve_triangular(own.transpose(2, 3), right[..., None], upper=True)[..., 0]
        out = list[Tensor]()
        for f in reversed(range(frames)):
            b = right[:, f, :, None]
            if f + 1 < frames:
                b = b - _there(self.before[f + 1]).transpose(1, 2) @ out[-1]
            if f + 2 < frames:
                b = b - _there(self.twice[f + 2]).transpose(1, 2) @ out[-2]
            out.append(torch.linalg.solve_triangular(self.own[f].transpose(1, 2), b, upper=True))
        return torch.stack(out[::-1], 1)[..., 0]


def _there(block: Tensor | None) -> Tensor:
    assert block is not None
    return block
