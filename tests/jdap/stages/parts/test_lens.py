"""Blur, coarse pixels and noise against scipy and against what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from jdap.blur import gaussian_blur
from jdap.stages.parts.lens import photograph


@pytest.fixture
def rgb() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def drawn(rgb: torch.Tensor, strength: float, seed: int) -> torch.Tensor:
    return photograph(rgb, strength, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma_px", [0.4, 1.3, 2.0])
def test_the_blur_is_a_gaussian(rgb: torch.Tensor, sigma_px: float) -> None:
    expected = gaussian_filter(rgb.double().numpy(), (0, 0, sigma_px, sigma_px), mode="nearest", truncate=4)
    np.testing.assert_allclose(gaussian_blur(rgb, sigma_px).numpy(), expected, atol=6e-3)
    assert gaussian_blur(rgb, sigma_px).std() < rgb.std()


def test_strength_0_changes_nothing(rgb: torch.Tensor) -> None:
    for seed in range(8):
        assert torch.equal(drawn(rgb, 0.0, seed), rgb)


def test_it_is_drawn_by_its_generator_and_stays_in_range(rgb: torch.Tensor) -> None:
    made = [drawn(rgb, 1.0, seed) for seed in range(40)]
    assert torch.equal(made[3], drawn(rgb, 1.0, 3))
    assert all(one.shape == rgb.shape and one.min() >= 0 and one.max() <= 1 for one in made)
    # Each of the three has probability 1/2, so an eighth of the pictures stays as it is.
    assert 1 <= sum(torch.equal(one, rgb) for one in made) <= 12


def test_all_pictures_have_one_lens_and_noise_of_their_own() -> None:
    flat = torch.full((2, 3, 32, 32), 0.5)
    made = [drawn(flat, 1.0, seed) for seed in range(40)]
    noisy = [one for one in made if not torch.allclose(one, flat)]
    assert 10 <= len(noisy) <= 30
    for one in noisy:
        assert not torch.equal(one[0], one[1])
        assert one[0].std().item() == pytest.approx(one[1].std().item(), rel=0.2)
        assert one.std() < 0.09
    grey = [torch.equal(one[:, 0], one[:, 1]) for one in noisy]
    assert 0 < sum(grey) < len(grey)


def test_a_blur_is_as_wide_on_a_picture_of_twice_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draw costs the same share of the picture's structure, at any resolution."""
    sigmas_px: list[list[float]] = []
    for side in (64, 128):
        sigmas_px.append([])
        keep = sigmas_px[-1]
        monkeypatch.setattr(
            "jdap.stages.parts.lens.gaussian_blur", lambda made, sigma, keep=keep: keep.append(sigma) or made
        )
        for seed in range(20):
            drawn(torch.full((1, 3, side, side), 0.5), 1.0, seed)
    small, large = map(np.array, sigmas_px)
    assert len(small) > 5
    np.testing.assert_allclose(large, 2 * small)


def test_coarse_pixels_are_as_wide_on_a_picture_of_twice_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes_px: list[list[int]] = []
    resize = torch.nn.functional.interpolate
    for side in (64, 128):
        sizes_px.append([])
        keep = sizes_px[-1]
        monkeypatch.setattr(
            "jdap.stages.parts.lens.F.interpolate",
            lambda made, size, keep=keep, **how: keep.append(size[0]) or resize(made, size=size, **how),
        )
        for seed in range(20):
            drawn(torch.full((1, 3, side, side), 0.5), 1.0, seed)
    fewer_small, fewer_large = (np.array(sizes[::2]) for sizes in sizes_px)  # each is made smaller, then large again
    assert (fewer_small < 64).any()
    np.testing.assert_allclose(fewer_large, 2 * fewer_small, atol=1)
