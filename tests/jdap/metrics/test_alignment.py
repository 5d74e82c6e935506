"""Alignments and measures against solvers that know nothing of them, one picture at a time, to 1e-6."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor

from benchmarks.choices import ALIGNMENT_NAMES
from jdap.metrics.alignment import ALIGNMENTS, LEAST_DISPARITY, deviation_line
from jdap.metrics.depth import DEPTH_MEASURES, MIN_DEPTH, STRICT_DELTAS

RATIOS = {"delta1": 1.25, "delta_101": 1.01, "delta_103": 1.03, "delta_105": 1.05}


def least_deviations(p: np.ndarray, d: np.ndarray, w: np.ndarray) -> float:
    """The least Σ w |s p + t − d|, by linear programming."""
    n = len(p)
    cost = np.concatenate([[0, 0], w, w])
    equal = np.hstack([np.stack([p, np.ones(n)], 1), np.eye(n), -np.eye(n)])
    bounds = [(None, None)] * 2 + [(0, None)] * (2 * n)
    return linprog(cost, A_eq=equal, b_eq=d, bounds=bounds, method="highs").fun


def reference(name: str, p: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The aligned pixels; ``l1`` by minimising from many starts."""
    ones = np.ones_like(p)
    if name == "none":
        return p
    if name == "scale":
        return p * np.linalg.lstsq(p[:, None], d, rcond=None)[0][0]
    if name == "l1":
        start = np.linalg.lstsq(np.stack([p, ones], 1), d, rcond=None)[0]
        best = minimize(
            lambda x: (abs(x[0] * p + x[1] - d) / d).sum(), start, method="Nelder-Mead",
            options={"xatol": 1e-12, "fatol": 1e-13, "maxiter": 20000, "maxfev": 20000},
        )  # fmt: skip
        return best.x[0] * p + best.x[1]
    goal = 1 / d if name == "disparity" else d
    found = np.stack([p, ones], 1) @ np.linalg.lstsq(np.stack([p, ones], 1), goal, rcond=None)[0]
    return 1 / np.maximum(found, LEAST_DISPARITY / d.max()) if name == "disparity" else found


def measured(aligned: np.ndarray, d: np.ndarray) -> dict[str, float]:
    positive = np.maximum(aligned, MIN_DEPTH)
    ratio = np.maximum(positive / d, d / positive)
    found = {name: float((ratio < most).mean()) for name, most in RATIOS.items()}
    return found | {"absrel": np.mean(abs(positive - d) / d), "rmse": np.sqrt(np.mean((aligned - d) ** 2))}


@pytest.fixture
def faces() -> tuple[Tensor, Tensor, Tensor]:
    """Bumps with noise in [0.1, 1]; masks with holes, full of NaN outside; the last prediction is inside out."""
    generator = torch.Generator().manual_seed(3)
    v, u = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 20), indexing="ij")
    d = (1 - 0.85 * torch.exp(-2 * (u**2 + v**2))).expand(4, 1, 20, 20)
    mask = ((u**2 + v**2) < 0.9) & (torch.rand(4, 1, 20, 20, generator=generator) < 0.8)
    noise = torch.randn(4, 1, 20, 20, generator=generator) * torch.tensor([0.01, 0.05, 0.2, 0.05]).reshape(4, 1, 1, 1)
    p = (d + noise) * torch.tensor([1.0, 3, 0.2, -2]).reshape(4, 1, 1, 1) + 0.1
    return torch.where(mask, p, torch.nan), torch.where(mask, d, torch.nan), mask


def test_the_names_are_those_of_the_options() -> None:
    assert tuple(ALIGNMENTS) == ALIGNMENT_NAMES


@pytest.mark.parametrize("name", ALIGNMENT_NAMES)
def test_agrees_with_an_independent_solver(faces: tuple[Tensor, Tensor, Tensor], name: str) -> None:
    prediction, target, mask = faces
    aligned, scale = ALIGNMENTS[name](prediction, target, mask)
    assert aligned.dtype == torch.float64
    measures = DEPTH_MEASURES | STRICT_DELTAS
    assert set(measures) == {*RATIOS, "absrel", "rmse"}
    for i in range(4):
        p, d = (x[i][mask[i]].double().numpy() for x in (prediction, target))
        expected = reference(name, p, d)
        np.testing.assert_allclose(aligned[i][mask[i]].numpy(), expected, rtol=0, atol=1e-6)
        for key, value in measured(expected, d).items():
            assert measures[key](aligned, target, mask)[i].item() == pytest.approx(value, abs=1e-6), (key, i)
    inside_out = (scale < 0).tolist()
    assert inside_out == [False, False, False, name not in ("scale", "none")] or name == "scale"


def test_no_line_has_smaller_deviations() -> None:
    generator = torch.Generator().manual_seed(0)
    for kind in ("noise", "wild", "grid", "line"):
        p = torch.rand(80, generator=generator, dtype=torch.float64)
        d = 2 * p + 1 + 0.1 * torch.randn(80, generator=generator, dtype=torch.float64)
        if kind == "wild":
            d[:30] = 9 * torch.rand(30, generator=generator, dtype=torch.float64)
        if kind == "grid":  # many points on one line, many on one place
            p, d = (p * 5).round(), (d * 3).round()
        if kind == "line":
            d = 2 * p + 1
        w = 0.5 + torch.rand(80, generator=generator, dtype=torch.float64)
        s, t = deviation_line(p, d, w)
        least = least_deviations(p.numpy(), d.numpy(), w.numpy())
        assert float((w * (s * p + t - d).abs()).sum()) == pytest.approx(least, abs=1e-8), kind


@pytest.mark.parametrize("name", ALIGNMENT_NAMES)
def test_constants_few_pixels_and_nothing(name: str) -> None:
    target = torch.tensor([0.2, 0.4, 0.8, 1.0]).reshape(1, 1, 1, 4)
    everywhere = torch.ones_like(target, dtype=torch.bool)
    # The weighted median: 1 / 0.2 weighs more than all others together.
    level = {"scale_shift": 0.6, "disparity": 4 / (5 + 2.5 + 1.25 + 1), "l1": 0.2, "none": 7.0}
    aligned, scale = ALIGNMENTS[name](torch.full_like(target, 7.0), target, everywhere)
    # Under a scale alone a constant is the constant that fits best.
    assert aligned.flatten().tolist() == pytest.approx([level.get(name, 0.6)] * 4, abs=1e-7)
    assert scale.item() == pytest.approx({"none": 1, "scale": 0.6 / 7}.get(name, 0), abs=1e-7)
    zero, _ = ALIGNMENTS[name](torch.zeros_like(target), target, everywhere)
    assert zero.isfinite().all()
    # Two pixels are a line: no error is left. One is a constant.
    two = torch.tensor([True, False, True, False]).reshape(1, 1, 1, 4)
    guess = torch.tensor([3.0, torch.nan, 5.0, torch.nan]).reshape(1, 1, 1, 4)
    left = DEPTH_MEASURES["rmse"](ALIGNMENTS[name](guess, target, two)[0], target, two).item()
    assert (left < 1e-9) == (name in ("scale_shift", "disparity", "l1"))
    one = torch.tensor([True, False, False, False]).reshape(1, 1, 1, 4)
    left = DEPTH_MEASURES["rmse"](ALIGNMENTS[name](guess, target, one)[0], target, one).item()
    assert (left < 1e-9) == (name != "none")
    nothing = torch.zeros_like(two)
    assert DEPTH_MEASURES["rmse"](ALIGNMENTS[name](guess, target, nothing)[0], target, nothing).isnan().all()


def test_disparity_undoes_an_affine_frame_of_disparity(faces: tuple[Tensor, Tensor, Tensor]) -> None:
    _, target, mask = faces
    aligned, scale = ALIGNMENTS["disparity"](4 - 0.3 / target, target, mask)
    torch.testing.assert_close(aligned[mask], target[mask].double(), rtol=0, atol=1e-6)
    assert (scale > 0).all()
    # A pixel at the horizon is as far as ten times the farthest.
    wild = torch.where(mask, 4 - 0.3 / target, torch.nan)
    v, u = (int(x[0]) for x in mask[0, 0].nonzero().T[:, :1])
    wild[0, 0, v, u] = 400
    assert ALIGNMENTS["disparity"](wild, target, mask)[0][mask].max() <= 10 * target[mask].max() * (1 + 1e-9)
