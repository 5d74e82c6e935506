"""Solving the normal equations of tracks: elimination of the frames, a small shared system, back-substitution.

Given what a track shares, a frame's unknowns meet those of the two frames before and after it alone, by the second
differences of the smoothness prior, and there each its own kind. So the frames' part A is banded: on the CPU LAPACK
factors it as such (SciPy), on a GPU pairs of frames are a block-tridiagonal system, of which every other block is
eliminated at once, for all tracks (cyclic reduction; Golub and Van Loan, "Matrix computations", section 4.5). With C
the coupling to what is shared, what is left for that is the Schur complement S - C' A^-1 C (Triggs et al., "Bundle
adjustment", 2000, section 6). Nothing here waits for a GPU.

Shapes: B tracks, F frames of the longest, P unknowns of a frame, Q shared ones, R = Q + 1 right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solveh_banded
from torch import Tensor

from jdap.io.threads import one_blas_thread


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """The normal equations of tracks, float64.

    * ``frame_BFPP``: frame blocks without smoothness; the unit matrix behind a track's end
    * ``cross_BFPQ``, ``shared_BQQ``: their coupling to what is shared, and its own block
    * ``right_BFP``, ``right_BQ``: right-hand sides
    * ``smooth_P``: precisions of second differences, or None where frames do not meet; ``inner_BF`` (B, F - 2) bool:
      which of them there are
    """

    frame_BFPP: Tensor
    cross_BFPQ: Tensor
    shared_BQQ: Tensor
    right_BFP: Tensor
    right_BQ: Tensor
    smooth_P: Tensor | None
    inner_BF: Tensor

    def solve(self, damping_B: Tensor) -> tuple[Tensor, Tensor]:
        """The step (shared (B, Q), frames (B, F, P)), float32, with Marquardt's damping of the diagonals."""
        shared = self.shared_BQQ + damping_B[:, None, None] * torch.diag_embed(self.shared_BQQ.diagonal(dim1=1, dim2=2))
        solved = self._solve_frames(damping_B, torch.cat([self.cross_BFPQ, self.right_BFP[..., None]], -1))
        coupled, own = solved[..., :-1], solved[..., -1]
        schur = shared - torch.einsum("bfpq,bfpr->bqr", self.cross_BFPQ, coupled)
        right = self.right_BQ - torch.einsum("bfpq,bfp->bq", self.cross_BFPQ, own)
        step = torch.linalg.solve_ex(schur, right)[0]
        return step.float(), (own - torch.einsum("bfpq,bq->bfp", coupled, step)).float()

    def covariance(self) -> Tensor:
        """(B, Q, Q): of what is shared, its frames' unknowns integrated out: the inverse of the Schur complement."""
        coupled = self._solve_frames(torch.zeros_like(self.right_BQ[:, 0]), self.cross_BFPQ)
        schur = self.shared_BQQ - torch.einsum("bfpq,bfpr->bqr", self.cross_BFPQ, coupled)
        return torch.linalg.inv_ex((schur + schur.transpose(1, 2)) / 2)[0]

    def _solve_frames(self, damping_B: Tensor, right_BFPR: Tensor) -> Tensor:
        """(B, F, P, R): the inverse of the frames' part, its diagonal damped, times ``right_BFPR``."""
        smooth = self.smooth_P
        diagonal, first, second = self._bands()
        blocks = self.frame_BFPP if smooth is None else self.frame_BFPP + torch.diag_embed(diagonal[..., None] * smooth)
        blocks = blocks + torch.diag_embed(damping_B[:, None, None] * blocks.diagonal(dim1=2, dim2=3))
        if smooth is None or blocks.shape[1] < 3:
            return torch.cholesky_solve(right_BFPR, torch.linalg.cholesky_ex(blocks)[0])
        solve = solve_banded if blocks.device.type == "cpu" else solve_cyclic
        return solve(blocks, first[..., None] * smooth, second[..., None] * smooth, right_BFPR)

    def _bands(self) -> tuple[Tensor, Tensor, Tensor]:
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


def solve_banded(blocks_BFPP: Tensor, first_BFP: Tensor, second_BFP: Tensor, right_BFPR: Tensor) -> Tensor:
    """(B, F, P, R): each track's positive definite system, solved by LAPACK's banded Cholesky factor. Beside its blocks
    are diagonal ones: ``first_BFP`` (F - 1) of neighbours, ``second_BFP`` (F - 2) of frames that are two apart."""
    frames, own = blocks_BFPP.shape[1:3]
    rows, columns = np.tril_indices(own)
    solved = []
    for blocks, first, second, right in zip(blocks_BFPP, first_BFP, second_BFP, right_BFPR, strict=True):
        band = np.zeros((2 * own + 1, frames, own))  # of the matrix' lower half: its diagonals, column by column
        band[rows - columns, :, columns] = blocks.numpy()[:, rows, columns].T
        band[own, :-1], band[2 * own, :-2] = first.numpy(), second.numpy()
        lower, columns_R = band.reshape(2 * own + 1, -1), right.flatten(0, 1).numpy()
        with one_blas_thread():  # its many small products are no work for two
            flat = solveh_banded(lower, columns_R, lower=True, check_finite=False)
        solved.append(torch.from_numpy(flat).view_as(right))
    return torch.stack(solved)


def solve_cyclic(blocks_BFPP: Tensor, first_BFP: Tensor, second_BFP: Tensor, right_BFPR: Tensor) -> Tensor:
    """What :func:`solve_banded` does, on any device: all tracks and half of the frames that are left at a time."""
    tracks, frames, own = blocks_BFPP.shape[:3]
    pairs = -(-frames // 2)
    odd = 2 * pairs - frames  # one more frame, which meets nobody
    blocks = torch.nn.functional.pad(blocks_BFPP, (0, 0, 0, 0, 0, odd))
    if odd:
        blocks[:, -1] += torch.eye(own, dtype=blocks.dtype, device=blocks.device)
    first, second = (torch.nn.functional.pad(x, (0, 0, 0, 2 * pairs - x.shape[1])) for x in (first_BFP, second_BFP))
    first, second = torch.diag_embed(first), torch.diag_embed(second)
    pair = torch.cat([torch.cat([blocks[:, ::2], first[:, ::2]], 3), torch.cat([first[:, ::2], blocks[:, 1::2]], 3)], 2)
    # Rows of the later pair, columns of the earlier one.
    nothing = torch.zeros_like(first[:, :-2:2])
    link = torch.cat(
        [
            torch.cat([second[:, :-2:2], first[:, 1:-2:2]], 3),
            torch.cat([nothing, second[:, 1:-2:2]], 3),
        ],
        2,
    )
    right = torch.nn.functional.pad(right_BFPR, (0, 0, 0, 0, 0, odd)).unflatten(1, (pairs, 2)).flatten(2, 3)
    return _reduce(pair, link, right).reshape(tracks, 2 * pairs, own, -1)[:, :frames]


def _reduce(blocks: Tensor, link: Tensor, right: Tensor) -> Tensor:
    """Cyclic reduction: blocks (B, n, p, p), ``link`` (B, n - 1, p, p) below them, right-hand sides (B, n, p, r)."""
    n = blocks.shape[1]
    factor = torch.linalg.cholesky_ex(blocks[:, 1::2] if n > 1 else blocks)[0]
    if n == 1:
        return torch.cholesky_solve(right, factor)
    before, after = link[:, ::2], link[:, 1::2]  # of each odd block: towards the even one before it, and the one after
    ends = after.shape[1]
    # What an even block hands over, and the odd block's own right-hand sides.
    by_before, own = torch.cholesky_solve(before, factor), torch.cholesky_solve(right[:, 1::2], factor)
    by_after = torch.cholesky_solve(after.transpose(2, 3), factor[:, :ends])
    even, even_right = blocks[:, ::2].clone(), right[:, ::2].clone()
    odd = before.shape[1]
    even[:, :odd] -= before.transpose(2, 3) @ by_before
    even_right[:, :odd] -= before.transpose(2, 3) @ own
    even[:, 1 : ends + 1] -= after @ by_after
    even_right[:, 1 : ends + 1] -= after @ own[:, :ends]
    solved = _reduce(even, -(after @ by_before[:, :ends]), even_right)
    out = torch.empty_like(right)
    out[:, ::2] = solved
    out[:, 1::2] = own - by_before @ solved[:, :odd]
    out[:, 1 : 2 * ends : 2] -= by_after @ solved[:, 1 : ends + 1]
    return out
