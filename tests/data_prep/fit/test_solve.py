"""Banded elimination against a dense solve, and cyclic reduction, which a GPU takes, against the banded one."""

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from data_prep.fit import solve as solving
from data_prep.fit.solve import solve_banded, solve_cyclic


@pytest.mark.parametrize("frames", [3, 4, 5, 8, 13])
def test_bands_are_solved_as_the_whole_matrix(frames: int) -> None:
    generator = torch.Generator().manual_seed(frames)
    tracks, own, sides = 2, 4, 3

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root = normal(tracks, frames, own, own)
    blocks = root @ root.transpose(2, 3) + 16 * torch.eye(own, dtype=torch.float64)
    first, second, right = (
        normal(tracks, frames - 1, own),
        normal(tracks, frames - 2, own),
        normal(tracks, frames, own, sides),
    )
    for track in range(tracks):
        whole = torch.block_diag(*blocks[track])
        for apart, bands in ((1, first), (2, second)):
            for f in range(frames - apart):
                rows, columns = slice((f + apart) * own, (f + apart + 1) * own), slice(f * own, (f + 1) * own)
                whole[rows, columns] = whole[columns, rows] = torch.diag(bands[track, f])
        expected = torch.linalg.solve(whole, right[track].flatten(0, 1)).view(frames, own, sides)
        for solve in (solve_banded, solve_cyclic):
            torch.testing.assert_close(solve(blocks, first, second, right)[track], expected, rtol=1e-9, atol=1e-10)


def test_blas_solves_bands_by_one_thread(monkeypatch) -> None:
    """Beside a busy process two take up to thirty times as long."""
    used, solveh_banded = [], solving.solveh_banded

    def told(*args, **options):
        blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas" and "opencv" not in pool["filepath"]]
        used.extend(pool["num_threads"] for pool in blas)  # OpenCV brings one of its own
        return solveh_banded(*args, **options)

    monkeypatch.setattr(solving, "solveh_banded", told)
    blocks = torch.eye(2, dtype=torch.float64).expand(1, 3, 2, 2)
    first, second, right = (torch.zeros(1, n, 2, dtype=torch.float64) for n in (2, 1, 3))
    with threadpool_limits(2, user_api="blas"):
        solve_banded(blocks, first, second, right[..., None])
    assert used
    assert set(used) == {1}
