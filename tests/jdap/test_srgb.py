"""The curve against the standard's own points, and there and back."""

import torch

from jdap.srgb import from_linear, to_linear


def test_the_curve_agrees_with_the_standard() -> None:
    linear = torch.tensor([0.0, 0.0031308, 0.18, 0.5, 1.0])
    srgb = torch.tensor([0.0, 0.04045, 0.46136, 0.73536, 1.0])
    torch.testing.assert_close(from_linear(linear), srgb, atol=1e-4, rtol=0)
    torch.testing.assert_close(to_linear(srgb), linear, atol=1e-4, rtol=0)
    outside = torch.tensor([-1.0, 2.0])
    for curve in (from_linear, to_linear):
        torch.testing.assert_close(curve(outside), torch.tensor([0.0, 1.0]))


def test_there_and_back_is_the_same_byte() -> None:
    srgb = torch.arange(256) / 255
    torch.testing.assert_close((from_linear(to_linear(srgb)) * 255).round(), torch.arange(256.0))
