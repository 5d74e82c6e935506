"""ST-LPIPS: its blur against a closed form, its weights where they are installed, and the reason where they are not."""

import sys

import pytest
import torch

from jdap.metrics.perceptual import PerceptualError, StLpips, halved

EXTRA = "the extra jdap[perceptual]"


def test_a_blur_keeps_a_slope_and_halves_it():
    slope = torch.arange(16.0).expand(1, 2, 16, 16)
    found = halved(slope)
    assert found.shape == (1, 2, 9, 9)
    # Pixel k of the half is centred on pixel 2 k − 1 of the whole; away from the mirrored edge a slope is a slope.
    torch.testing.assert_close(found[0, 0, 4, 1:8], torch.arange(1, 8) * 2.0 - 1)


def test_without_its_weights_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "stlpips_pytorch", None)
    with pytest.raises(PerceptualError, match=r"pip install 'jdap\[perceptual\]'"):
        StLpips()


def test_distances_are_those_of_the_package():
    """Numbers of stlpips_pytorch 0.0.2, ``LPIPS(net="alex", variant="shift_tolerant")``, on the same pictures."""
    pytest.importorskip("stlpips_pytorch", reason=EXTRA)
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(3, 3, 64, 64, generator=generator) * 2 - 1
    other = (one + 0.3 * torch.randn(3, 3, 64, 64, generator=generator)).clamp(-1, 1)
    found = StLpips()(one, other)
    expected = [0.005202096421271563, 0.006322349887341261, 0.00622576242312789]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-3, atol=1e-6)


def test_a_shift_by_a_pixel_is_less_than_a_blur():
    pytest.importorskip("stlpips_pytorch", reason=EXTRA)
    measure = StLpips()
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
    picture = torch.nn.functional.interpolate(coarse, (96, 96), mode="nearest")
    blurred = torch.nn.functional.avg_pool2d(picture, 9, stride=1, padding=4, count_include_pad=False)
    assert measure(picture, picture).item() == 0
    assert measure(picture, picture.roll(1, 3)).item() < 0.3 * measure(picture, blurred).item()
    with pytest.raises(ValueError, match="32 pixels"):
        measure(picture[..., :16, :16], picture[..., :16, :16])
