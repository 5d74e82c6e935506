"""Symmetry of a face's depth about its own plane, on surfaces of which it is known."""

import numpy as np
import pytest

from benchmarks.steadiness.symmetry import symmetry

SIZE = 128
#: Half axes of a head in pixels: across, down, towards the camera; and a nose on it.
AXES, NOSE_PX, NOSE_WIDTH_PX = (38.0, 48.0, 40.0), 14.0, 9.0


def head(yaw_deg: float, lump_px: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """A half ellipsoid with a nose, a ``lump_px`` high lump on one cheek, turned by a yaw, as the camera sees it: its
    relief in the normalised frame, where it is, pairs of fellows, and pixels of depth per unit of relief."""
    grid = np.linspace(-1, 1, 601)
    x, y = (values.ravel() for values in np.meshgrid(grid * AXES[0], grid * AXES[1]))
    inside = (x / AXES[0]) ** 2 + (y / AXES[1]) ** 2 < 0.98
    x, y = x[inside], y[inside]
    z = -AXES[2] * np.sqrt(1 - (x / AXES[0]) ** 2 - (y / AXES[1]) ** 2)
    z -= NOSE_PX * np.exp(-((x / NOSE_WIDTH_PX) ** 2) - ((y / 14) ** 2))
    z -= lump_px * np.exp(-(((x - 18) / 7) ** 2) - (((y - 12) / 7) ** 2))
    angle = np.radians(yaw_deg)

    def seen(points_N3: np.ndarray) -> np.ndarray:
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        return points_N3 @ turn.T + [SIZE / 2, SIZE / 2, 0]

    points = seen(np.stack([x, y, z], 1))
    depth = np.full((SIZE, SIZE), np.inf)
    cells = points[:, :2].round().astype(int)
    np.minimum.at(depth, (cells[:, 1], cells[:, 0]), points[:, 2])
    skin = np.isfinite(depth)
    # The rim, which is steep and full of holes, is not skin.
    rim = np.hypot((np.arange(SIZE)[None] - SIZE / 2) / AXES[0], (np.arange(SIZE)[:, None] - SIZE / 2) / AXES[1]) > 0.85
    skin &= ~rim
    per_unit = float(np.ptp(np.quantile(depth[skin], [0.02, 0.98]))) / 0.9
    relief = np.where(skin, (depth - depth[skin].min()) / per_unit, 1.0)
    sides = np.array([[-20.0, 20.0], [-12.0, -15.0], [-15.0, 10.0]])
    height = -AXES[2] * np.sqrt(1 - (sides[:, 0] / AXES[0]) ** 2 - (sides[:, 1] / AXES[1]) ** 2)
    near = seen(np.column_stack([sides, height]))
    far = seen(np.column_stack([-sides[:, 0], sides[:, 1], height]))
    return relief, skin, np.stack([near[:, :2], far[:, :2]], 1), per_unit


@pytest.mark.parametrize("yaw_deg", [0.0, 12.0, -20.0])
def test_a_symmetric_head_has_no_error_and_its_plane_is_found(yaw_deg: float) -> None:
    relief, skin, pairs, _ = head(yaw_deg)
    found = symmetry(relief, skin, pairs)
    # Half a pixel of rounding on slopes is left.
    assert found.rmse < 0.02
    assert found.yaw_deg == pytest.approx(yaw_deg, abs=4) or found.yaw_deg == pytest.approx(-yaw_deg, abs=4)


def test_the_search_gets_away_from_where_it_begins() -> None:
    relief, skin, pairs, _ = head(0.0)
    beside = pairs + np.array([4.0, 1.0])
    assert symmetry(relief, skin, beside).rmse < 0.02


def test_a_lump_on_one_cheek_is_as_high_as_it_is() -> None:
    relief, skin, pairs, per_unit = head(0.0, lump_px=6.0)
    found = symmetry(relief, skin, pairs)
    bare, *_ = head(0.0)
    v, u = np.indices(skin.shape)
    lump = 6.0 / per_unit * np.exp(-(((u - SIZE / 2 - 18) / 7) ** 2) - (((v - SIZE / 2 - 12) / 7) ** 2))
    # Mirrored about the middle the lump is once too near and once too far.
    expected = np.sqrt(np.mean(((lump - lump[:, ::-1])[skin]) ** 2))
    assert found.rmse == pytest.approx(expected, rel=0.25)
    assert found.rmse > 3 * symmetry(bare, skin, pairs).rmse


def test_it_does_not_depend_on_the_scale_of_depth_within_what_faces_have() -> None:
    turned = [head(15.0), head(15.0, lump_px=6.0)]
    for relief, skin, pairs, _ in turned:
        # Only the relief's form is given: a head twice as deep in pixels would look the same here.
        stretched = symmetry(relief * 1.3, skin, pairs).rmse / 1.3
        assert stretched == pytest.approx(symmetry(relief, skin, pairs).rmse, rel=0.2, abs=0.003)


def test_a_face_whose_other_side_is_not_there_has_no_error() -> None:
    relief, skin, pairs, _ = head(0.0)
    half = skin & (np.arange(SIZE)[None] > SIZE / 2 + 8)
    assert np.isnan(symmetry(relief, half, pairs).rmse)
