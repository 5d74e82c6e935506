"""The shoulder there and back."""

import torch

from jdap.light.colour import BRIGHTEST, KNEE, from_light, to_light
from jdap.srgb import from_linear, to_linear


def test_there_and_back_is_the_same_byte() -> None:
    srgb = torch.arange(256) / 255
    torch.testing.assert_close((from_light(to_light(srgb)) * 255).round()[:-1], torch.arange(255.0))
    assert from_light(to_light(srgb))[-1] > 0.98  # white's light is bounded


def test_the_shoulder_keeps_what_is_dark_and_bounds_what_is_bright() -> None:
    dark = torch.linspace(0, float(from_linear(torch.tensor(KNEE))), 50)
    torch.testing.assert_close(to_light(dark), to_linear(dark))
    assert to_light(torch.ones(1)) == BRIGHTEST
    bright = from_light(torch.tensor([0.7, 1.0, 4.0, 100.0]))
    assert (bright.diff() > -1e-6).all()
    assert bright.max() <= 1
