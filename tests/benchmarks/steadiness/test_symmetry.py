"""Symmetry of a face's depth about its own plane, on surfaces of which it is known."""

import numpy as np
import pytest
from mirrored_heads import SIZE, head

from benchmarks.steadiness.symmetry import symmetry


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
