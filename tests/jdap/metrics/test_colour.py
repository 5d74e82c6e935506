"""Colour slopes against NumPy's fit, and the axes against the standard library's."""

import colorsys

import numpy as np
import pytest
import torch

from jdap.metrics.colour import AXES, ColourSlopes
from jdap.srgb import rgb_to_yiq


def pictures(seed: int, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 24, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def by_numpy(made: torch.Tensor, true: torch.Tensor) -> dict[str, float]:
    """Patches of 8 x 8 by loops, axes by their published matrix's definition, the slope by polyfit."""
    found: dict[str, tuple[list[float], list[float]]] = {axis: ([], []) for axis in AXES}
    matrix = np.array([colorsys.rgb_to_yiq(*unit) for unit in np.eye(3)]).T
    for one, other in zip(true.double().numpy(), made.double().numpy(), strict=True):
        for y in range(0, one.shape[1], 8):
            for x in range(0, one.shape[2], 8):
                values = [matrix @ p[:, y : y + 8, x : x + 8].mean((1, 2)) for p in (one, other)]
                for i, axis in enumerate(AXES):
                    found[axis][0].append(values[0][i])
                    found[axis][1].append(values[1][i])
    return {axis: float(np.polyfit(t, m, 1)[0]) for axis, (t, m) in found.items()}


def test_slopes_are_those_of_a_straight_line_through_all_patches():
    slopes, made, true = ColourSlopes(), [], []
    for seed in range(3):
        true.append(pictures(seed))
        made.append(0.7 * true[-1].roll(1, 1) + 0.3 * pictures(seed + 10) + 0.2)
        slopes.update(made[-1], true[-1])
    expected = by_numpy(torch.cat(made), torch.cat(true))
    for axis, slope in slopes.compute().items():
        assert float(slope) == pytest.approx(expected[axis], abs=0.01)


def test_a_lost_axis_has_no_slope_and_the_others_are_whole():
    true = pictures(0)
    yiq = rgb_to_yiq(true)
    yiq[:, 2] = 0.3
    made = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(rgb_to_yiq(torch.eye(3)[..., None, None])[..., 0, 0].T), yiq)
    slopes = ColourSlopes()
    slopes.update(made, true)
    assert {axis: round(float(x), 3) for axis, x in slopes.compute().items()} == {"Y": 1.0, "I": 1.0, "Q": 0.0}


def test_pictures_without_contrast_have_no_slope():
    slopes = ColourSlopes()
    slopes.update(pictures(0), torch.zeros(3, 3, 24, 16))
    assert all(x.isnan() for x in slopes.compute().values())


def test_the_axes_are_those_of_the_library():
    for rgb in torch.rand(5, 3).tolist():
        found = rgb_to_yiq(torch.tensor(rgb).reshape(1, 3, 1, 1)).flatten().tolist()
        assert found == pytest.approx(colorsys.rgb_to_yiq(*rgb), abs=0.005)
