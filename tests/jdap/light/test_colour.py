"""sRGB against the standard's own points, and there and back."""

import torch

from jdap.light.colour import BRIGHTEST, KNEE, from_light, to_light, to_linear, to_srgb


def test_srgb_agrees_with_the_standard() -> None:
    linear = torch.tensor([0.0, 0.0031308, 0.18, 0.5, 1.0])
    srgb = torch.tensor([0.0, 0.04045, 0.46136, 0.73536, 1.0])
    torch.testing.assert_close(to_srgb(linear), srgb, atol=1e-4, rtol=0)
    torch.testing.assert_close(to_linear(srgb), linear, atol=1e-4, rtol=0)


def test_there_and_back_is_the_same_byte() -> None:
    srgb = torch.arange(256) / 255
    for back in (to_srgb(to_linear(srgb)), from_light(to_light(srgb))):
        torch.testing.assert_close((back * 255).round()[:-1], torch.arange(255.0))
    assert from_light(to_light(srgb))[-1] > 0.98  # white's light is bounded


def test_the_shoulder_keeps_what_is_dark_and_bounds_what_is_bright() -> None:
    dark = torch.linspace(0, float(to_srgb(torch.tensor(KNEE))), 50)
    torch.testing.assert_close(to_light(dark), to_linear(dark))
    assert to_light(torch.ones(1)) == BRIGHTEST
    bright = from_light(torch.tensor([0.7, 1.0, 4.0, 100.0]))
    assert (bright.diff() > -1e-6).all()
    assert bright.max() <= 1
