"""Normals and edges of depth maps, against numpy and scipy, pixel by pixel."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from jdap.geometry import unproject
from jdap.metrics.surface import boundary_f1, normal_angle_deg

CAMERA = torch.tensor([[60.0, 15.5, 16.5]])


def relief(tilt: float = 0.0, bump: float = 40.0, size: int = 32) -> Tensor:
    v, u = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    return (600 + tilt * u - bump * torch.exp(-3 * (u**2 + v**2)))[None, None].double()


def angles(a: Tensor, b: Tensor, mask: np.ndarray) -> list[float]:
    """Between normals of central differences, at pixels whose neighbours are in the mask."""
    points = [unproject(z, CAMERA.double())[0].numpy() for z in (a, b)]
    found = []
    for v in range(1, mask.shape[0] - 1):
        for u in range(1, mask.shape[1] - 1):
            if mask[v, u] and mask[v - 1, u] and mask[v + 1, u] and mask[v, u - 1] and mask[v, u + 1]:
                normals = [np.cross(p[:, v + 1, u] - p[:, v - 1, u], p[:, v, u + 1] - p[:, v, u - 1]) for p in points]
                cosine = normals[0] @ normals[1] / np.linalg.norm(normals[0]) / np.linalg.norm(normals[1])
                found.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return found


def test_angles_are_those_of_numpy() -> None:
    true, made = relief(), relief(20, 25)
    mask = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.9
    broken = torch.where(mask, made, torch.nan)
    got = normal_angle_deg(broken, torch.where(mask, true, torch.nan), mask, CAMERA)
    assert got.item() == pytest.approx(np.mean(angles(true, made, mask[0, 0].numpy())), abs=1e-6)
    assert normal_angle_deg(true, true, mask, CAMERA).item() == pytest.approx(0, abs=1e-6)


def test_a_plane_leans_by_its_angle_and_what_is_behind_the_camera_has_none() -> None:
    z = torch.full((1, 1, 9, 9), 500.0).double()
    everywhere = torch.ones_like(z, dtype=torch.bool)
    # A plane that leans by 30 degrees about the vertical: z = 500 + tan(30°) x, x = (u − cx) z / f.
    u = torch.arange(9).double() + 0.5
    slope = np.tan(np.deg2rad(30)) * (u - CAMERA[0, 1]) / CAMERA[0, 0]
    leaning = (500 / (1 - slope)).expand(1, 1, 9, 9)
    assert normal_angle_deg(leaning, z, everywhere, CAMERA).item() == pytest.approx(30, abs=1e-6)
    assert normal_angle_deg(-z, z, everywhere, CAMERA).item() == 90
    alone = torch.zeros_like(everywhere)
    alone[0, 0, 4, 4] = True
    assert normal_angle_deg(z, z, alone, CAMERA).isnan().all()


def f1(a: np.ndarray, b: np.ndarray, mask: np.ndarray, jump: float) -> float | None:
    edges = []
    for z in (a, b):
        edge = np.zeros_like(mask)
        for v, u in np.argwhere(mask):
            for dv, du in ((0, 1), (1, 0)):
                if v + dv < len(mask) and u + du < len(mask) and mask[v + dv, u + du]:
                    edge[v, u] |= abs(z[v + dv, u + du] - z[v, u]) >= jump
        edges.append(edge)
    made, true = edges
    if not true.any():
        return None
    if not made.any():
        return 0.0
    near = [binary_dilation(edge, np.ones((3, 3))) for edge in edges]
    precision, recall = (made & near[1]).sum() / made.sum(), (true & near[0]).sum() / true.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def test_edges_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    true, made = (500 + rng.uniform(0, 14, (3, 1, 24, 24)) * (rng.uniform(size=(3, 1, 24, 24)) < 0.2) for _ in "ab")
    mask = rng.uniform(size=true.shape) < 0.9
    jumps = (4.0, 8.0, 13.0, 100.0)
    got = boundary_f1(*(torch.from_numpy(x) for x in (made, true, mask)), jumps)
    for i in range(3):
        found = [x for jump in jumps if (x := f1(made[i, 0], true[i, 0], mask[i, 0], jump)) is not None]
        assert len(found) == 3
        assert got[i].item() == pytest.approx(np.mean(found), abs=1e-9)
    assert len(set(got.tolist())) == 3


def test_edges_that_are_found_missed_invented_and_nowhere() -> None:
    step = torch.full((1, 1, 12, 12), 500.0)
    step[..., 6:] += 30
    everywhere, flat = torch.ones_like(step, dtype=torch.bool), torch.full_like(step, 500.0)
    assert boundary_f1(step.roll(1, 3)[..., 1:], step[..., 1:], everywhere[..., 1:]).item() == 1  # one pixel off
    assert boundary_f1(flat, step, everywhere).item() == 0
    assert boundary_f1(step, flat, everywhere).isnan().all()
    # What lies outside of the mask is no edge.
    assert boundary_f1(step, step, everywhere & (torch.arange(12) < 6)).isnan().all()
