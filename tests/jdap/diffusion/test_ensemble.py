import numpy as np
import pytest
import torch

from jdap.diffusion.ensemble import align, combine


def relief(batch: int = 3) -> torch.Tensor:
    """Smooth maps (B, 1, 16, 16) within [-0.6, 0.6]."""
    coarse = torch.rand(batch, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.6
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")


def draws(noise: float, scales: tuple[float, ...], shifts: tuple[float, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    maps = [s * relief() + t for s, t in zip(scales, shifts, strict=True)]
    return torch.stack([m + noise * torch.randn(m.shape, generator=generator) for m in maps])


def test_draws_that_agree_are_left_alone():
    same = relief().expand(4, -1, -1, -1, -1)
    assert torch.allclose(align(same), same, atol=1e-6)
    depth, uncertainty = combine(same)
    assert torch.allclose(depth, relief(), atol=1e-6)
    assert uncertainty.max() < 1e-6


def test_scales_and_shifts_are_undone():
    scales, shifts = (0.8, 1.0, 1.2, 1.0), (0.1, -0.2, 0.0, 0.3)
    stack = draws(0, scales, shifts)
    depth, uncertainty = combine(stack)
    assert uncertainty.max() < 1e-6
    # in the frame of their plain mean
    assert torch.allclose(depth, stack.mean(0), atol=1e-6)


def test_it_is_the_least_squares_solution():
    """Against alternating least squares from a random start: scales for a map, the map for scales, until it stands."""
    stack = draws(0.1, (0.8, 1.0, 1.2), (0.1, -0.2, 0.0))
    ours = align(stack)
    rng = np.random.default_rng(0)
    for b in range(stack.shape[1]):
        centred = stack[:, b].flatten(1).double().numpy()
        centred = centred - centred.mean(1, keepdims=True)
        common = rng.normal(size=centred.shape[1])
        for _ in range(200):
            scale = centred @ common / (centred**2).sum(1)
            common = (scale[:, None] * centred).mean(0)
            common /= np.linalg.norm(common)
        scale = centred @ common / (centred**2).sum(1)
        aligned = ours[:, b].flatten(1).double().numpy()
        found = [np.polyfit(c, a, 1)[0] for c, a in zip(centred, aligned, strict=True)]
        np.testing.assert_allclose(np.array(found) / found[0], scale / scale[0], rtol=1e-4)
        # ... and the mean of the aligned has the plain mean's frame: its regression on it has slope 1, shift 0.
        slope, shift = np.polyfit(aligned.mean(0), stack[:, b].flatten(1).double().numpy().mean(0), 1)
        assert (slope, shift) == pytest.approx((1, 0), abs=1e-5)


def test_uncertainty_is_the_deviation_of_draws():
    noise = torch.full((1, 1, 1, 16), 0.05)
    noise[..., 8:] = 0.2
    generator = torch.Generator().manual_seed(2)
    stack = relief() + noise * torch.randn(40, *relief().shape, generator=generator)
    depth, uncertainty = combine(stack)
    assert uncertainty[..., :8].mean() == pytest.approx(0.05, rel=0.1)
    assert uncertainty[..., 8:].mean() == pytest.approx(0.2, rel=0.1)
    assert (depth - relief()).square().mean() < 1.5 * noise.square().mean() / 40


def test_flat_and_inverted_draws_do_no_harm():
    good = draws(0.01, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    flat = torch.full_like(good[:1], 0.4)
    for odd in (flat, -good[:1]):
        aligned = align(torch.cat([good, odd]))
        assert aligned.isfinite().all()
        assert aligned[3].flatten(1).std(1).max() < 1e-6
        assert all(np.corrcoef(a.flatten(), relief().flatten())[0, 1] > 0.99 for a in aligned[:3])
    depth, uncertainty = combine(torch.cat([flat, flat]))
    assert torch.allclose(depth, flat[0])
    assert uncertainty.max() == 0


def test_pictures_do_not_mix():
    stack = draws(0.1, (0.8, 1.0, 1.2), (0.1, -0.2, 0.0))
    assert torch.allclose(align(stack)[:, 1:2], align(stack[:, 1:2]), atol=1e-6)
