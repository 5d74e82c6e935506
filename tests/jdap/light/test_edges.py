"""A mask that follows a picture's edges: against the filter written out window by window, and on a drawn disc."""

import numpy as np
import torch

from jdap.light.edges import FLAT, GUIDE_REACH, follow_edges


def picture(side: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def disc(side: int, radius: float) -> torch.Tensor:
    at = (torch.arange(side) + 0.5) / side - 0.5
    return ((at[:, None].square() + at.square()).sqrt() < radius).float()[None, None]


def test_every_window_is_a_least_squares_fit():
    side = 20
    rgb, mask = picture(side), disc(side, 0.3)
    reach = max(1, round(side * GUIDE_REACH))
    lines = np.zeros((side, side, 4))
    colours, wanted = rgb[0].permute(1, 2, 0).numpy().astype(float), mask[0, 0].numpy()
    for v in range(side):
        for u in range(side):
            window = np.s_[max(v - reach, 0) : v + reach + 1, max(u - reach, 0) : u + reach + 1]
            x, y = colours[window].reshape(-1, 3), wanted[window].ravel()
            centred = x - x.mean(0)
            slope = np.linalg.solve(
                centred.T @ centred / len(x) + FLAT * np.eye(3), centred.T @ (y - y.mean()) / len(x)
            )
            lines[v, u] = [*slope, y.mean() - slope @ x.mean(0)]
    expected = np.zeros((side, side))
    for v in range(side):
        for u in range(side):
            mean = lines[max(v - reach, 0) : v + reach + 1, max(u - reach, 0) : u + reach + 1].mean((0, 1))
            expected[v, u] = mean[:3] @ colours[v, u] + mean[3]
    np.testing.assert_allclose(follow_edges(mask, rgb)[0, 0].numpy(), expected.clip(0, 1), atol=1e-3)


def test_a_mask_that_is_too_small_grows_to_the_edge_beside_it():
    side = 256
    head = disc(side, 0.3)
    rgb = torch.where(
        head > 0, torch.tensor([0.8, 0.6, 0.5])[:, None, None], torch.tensor([0.2, 0.3, 0.5])[:, None, None]
    )
    small = disc(64, 0.27)  # ends two of its pixels before the head
    before = torch.nn.functional.interpolate(small, (side, side), mode="bilinear")
    after = follow_edges(small, rgb)
    assert after.shape == (1, 1, side, side)
    wrong = [float(((mask > 0.5) != (head > 0)).float().mean()) for mask in (before, after)]
    assert wrong[1] < 0.35 * wrong[0]


def test_without_an_edge_a_mask_is_smoothed_alone():
    mask = disc(64, 0.3)
    found = follow_edges(mask, torch.full((1, 3, 64, 64), 0.5))
    assert float(found[0, 0, 32, 32]) == 1
    assert float(found[0, 0, 0, 0]) == 0
    assert abs(float(found.mean() - mask.mean())) < 0.01
