"""What is drawn between lips and lids, on a picture whose every part has its own colour."""

import numpy as np
import pytest
import torch

from jdap.pose.edges import MovedGap
from jdap.pose.gaps import POINTS, Gap
from jdap.pose.inside import beside, covered, placed

#: As if of a picture of 512.
PX = 1.0
IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
X, Y = np.meshgrid(np.arange(200) + 0.5, np.arange(120) + 0.5)


def slot(height: float, brow: bool = False) -> Gap:
    """From x = 50 to 150 about y = 60, as high everywhere."""
    x = np.linspace(50, 150, POINTS)
    upper, lower = (np.stack([x, np.full(POINTS, 60 + side * height / 2)], 1) for side in (-1, 1))
    return Gap(upper, lower, upper - [0.0, 30.0] if brow else None)


def test_a_slot_covers_as_many_pixels_as_it_is_high() -> None:
    for height in (0.0, 0.7, 5.0, 20.3):
        cover = covered(placed(slot(height), X, Y), 1.6)
        assert cover[:, 100].sum() == pytest.approx(height, abs=0.1)
    assert not covered(placed(slot(0.0), X, Y), 1.6).any()


def test_what_stays_is_the_photos_own() -> None:
    near = beside(MovedGap(slot(14.0), slot(14.0), IDENTITY), X, Y, PX)
    for moves, _ in near.skins:
        assert not moves.any()
    assert not near.inner_2HW.any()
    inside = near.cover_HW > 0
    assert near.seen_HW[inside].min() == 1
    assert near.photo_open_HW[inside].min() == 1


def test_lips_that_close_bring_no_teeth_with_them() -> None:
    """Skin of every pixel beside the line is taken from beyond the photo's gap."""
    near = beside(MovedGap(slot(14.0), slot(0.0), IDENTITY), X, Y, PX)
    assert not near.cover_HW.any()
    between = (X > 55) & (X < 145) & (np.abs(Y - 60) < 8)
    for (moves, sure), above in zip(near.skins, (True, False), strict=True):
        side = torch.from_numpy(between & ((Y < 60) == above))
        at = torch.from_numpy(Y).float()[side] + moves[1][side] * sure[side]
        close = sure[side] > 0.9
        assert ((at[close] < 53) if above else (at[close] > 67)).all()


def test_an_upper_lid_comes_down_with_its_lashes_and_unfolds() -> None:
    gap = MovedGap(
        slot(14.0, brow=True),
        Gap(*(slot(0.0).scaled(1.0, np.array([0.0, 7.0])).lines), slot(14.0, True).over_K2),
        IDENTITY,
    )
    (moves, sure), _ = beside(gap, X, Y, PX).skins
    column = (torch.from_numpy(Y).float() + moves[1])[:, 100]
    lid = 67
    assert sure[lid - 20 : lid, 100].min() > 0.99
    # Lashes go as one, by as much as the lid.
    torch.testing.assert_close(column[lid - 5 : lid], torch.arange(lid - 5, lid) + 0.5 - 14)
    # Above them skin is drawn out, but never folded; under the brow it stays.
    steps = column[lid - 35 : lid].diff()
    assert steps.min() > 0.2
    assert moves[1][lid - 40, 100].abs() < 0.5


def test_a_gap_that_narrows_darkens_and_one_that_widens_does_not() -> None:
    def light(was: float, now: float) -> tuple[float, float]:
        near = beside(MovedGap(slot(was), slot(now), IDENTITY), X, Y, PX)
        return float(near.photo_open_HW[60, 100]), float(near.paint_open_HW[60, 100])

    assert light(14.0, 1.0) == (0.0, 0.0)
    assert light(14.0, 20.0) == (1.0, 1.0)
    assert 0 < light(14.0, 5.0)[0] < 1
    photo, paint = light(3.0, 3.0)
    assert photo == 1
    assert paint < 0.2
