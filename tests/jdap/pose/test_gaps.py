"""What a photo shows between lips and lids is left to them."""

import numpy as np
import torch

from jdap.pose.gaps import GAP_EDGE_PX, GAPS, OUT_OF_GAP_PX, beside, gaps_of, way_out

SIZE = 64
GAP = np.array([[20.0, 30.0], [44.0, 30.0], [44.0, 40.0], [20.0, 40.0]])
#: Skin begins so many pixels of this grid beside a gap.
EDGE = GAP_EDGE_PX * SIZE / 512


def outside(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far points are beside the rectangle; below 0 in it."""
    return np.maximum(np.abs(x - 32) - 12, np.abs(y - 35) - 5)


def test_the_way_out_of_a_gap_is_the_shortest() -> None:
    way = way_out([GAP], SIZE).numpy()
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    far = outside(x, y)
    inside = far < -1
    assert inside.sum() > 100
    length = np.hypot(*way)
    np.testing.assert_allclose(length[inside], EDGE - far[inside] + 0.5, atol=1.0)
    assert (outside(x + way[0], y + way[1])[inside] > 0).all()
    assert not way[:, far > 1.5].any()


def test_a_gap_without_a_pixel_changes_nothing() -> None:
    line = np.array([[20.0, 30.2], [44.0, 30.2], [44.0, 30.21], [20.0, 30.21]])
    assert way_out([line], SIZE)[1].abs().max() <= 1.5
    assert not way_out([], SIZE).any()


def test_skin_is_taken_from_beside_a_gap_if_it_moves() -> None:
    still, little, far = 0.0, OUT_OF_GAP_PX / 2, 4 * OUT_OF_GAP_PX
    moved = torch.tensor([[still, little, far, far], [0.0, 0.0, 0.0, 0.0]])[:, None]
    way = torch.tensor([[0.0] * 4, [3.0] * 4])[:, None]
    inner = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    found = beside(moved, way, inner, 1.0)
    torch.testing.assert_close(found - moved, torch.tensor([[0.0] * 4, [0.0, 1.5, 3.0, 0.0]])[:, None])


def test_gaps_are_rings_of_a_face() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (478, 2))
    found = gaps_of(points)
    assert [len(gap) for gap in found] == [20, 16, 16]
    for gap, ring in zip(found, GAPS, strict=True):
        np.testing.assert_array_equal(gap, points[list(ring)])
