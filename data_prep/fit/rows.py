"""Rows of weighted least squares and their products, the parts of the fit's normal equations.

Identity, which many frames share, is the costly part: a landmark's rows by its K modes are G B, with G (2 x 3) how a
point of the head moves the landmark and B (3 x K) how the modes move the point. B is the same in every frame, so

    sum_f (G_f B)' (G_f B) = B' (sum_f G_f' G_f) B,

and frames are summed before the modes come in: once a track, not once a frame.

Shapes: M frames, N landmarks, D pairs of them, X = 2 (N + D) rows, B tracks, P unknowns of a frame, K modes, Q = K + 1
shared unknowns (modes, then the focal length).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FitRows:
    """``table_MXC``, weights in it: by column a frame's ``own`` unknowns, the focal length, the residual, the modes.

    ``by_head_MN23`` is the G above of the landmarks, whose rows come first; ``basis_N3K`` is B.
    """

    table_MXC: Tensor
    own: int
    by_head_MN23: Tensor
    basis_N3K: Tensor

    def products(self, member_BM: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """float64; ``member_BM`` (0 or 1) says whose the frames are. A frame's own products (M, P, P), with what is
        shared (M, P, Q), with the residual (M, P); then, summed over each track's frames, those of what is shared
        (B, Q, Q), and with the residual (B, Q)."""
        own, focal, residual = self.own, self.own, self.own + 1
        found = (self.table_MXC[..., : own + 2].transpose(1, 2) @ self.table_MXC).double()
        shared = torch.cat([found[..., own + 2 :], found[..., focal, None]], -1)
        with_focal_BQ, right_BQ = member_BM @ shared[:, focal], member_BM @ shared[:, residual]
        above = torch.cat([self._identity(member_BM), with_focal_BQ[:, None, :-1]], 1)
        shared_BQQ = torch.cat([above, with_focal_BQ[..., None]], 2)
        return found[:, :own, :own], shared[:, :own], found[:, :own, residual], shared_BQQ, right_BQ

    def _identity(self, member_BM: Tensor) -> Tensor:
        """(B, K, K) float64: of the modes, landmarks as the module says, pairs row by row."""
        tracks, modes = len(member_BM), self.basis_N3K.shape[-1]
        if not modes:
            return member_BM.new_zeros(tracks, 0, 0)
        by_head, basis = self.by_head_MN23, self.basis_N3K.double()
        power = (by_head[..., None] * by_head[..., None, :]).sum(2).double()
        power_BN33 = (member_BM @ power.flatten(1)).unflatten(1, power.shape[1:])
        pairs = self.table_MXC[:, 2 * by_head.shape[1] :, self.own + 2 :]
        of_pairs = (member_BM @ (pairs.transpose(1, 2) @ pairs).double().flatten(1)).unflatten(1, (modes, modes))
        return basis.flatten(0, 1).T @ (power_BN33 @ basis).flatten(1, 2) + of_pairs


def fill(table_MN2C: Tensor, own: list[Tensor], focal_MN21: Tensor, residual_MN2: Tensor, modes_MN2K: Tensor) -> None:
    """Write some lines of a table, two rows each, column by column."""
    start = 0
    for part in (*own, focal_MN21, residual_MN2[..., None], modes_MN2K):
        table_MN2C[..., start : start + part.shape[-1]] = part
        start += part.shape[-1]
