"""What a camera does to a picture that the studio draws sharp and clean: blur, coarse pixels, noise, no colours.

Shapes: B pictures, H = W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from jdap.blur import gaussian_blur
from jdap.diffusion.draws import StepSlice, draw_generators
from jdap.srgb import rgb_to_yiq
from jdap.stages.settings.given import GivenSettings

#: At strength 1: the largest blur's standard deviation, pixels of 128 across the picture …
_BLUR_PX, _SIDE_PX = 2.0, 128
#: … how many times fewer pixels the coarsest picture had …
_COARSE = 3.0
#: … and the largest noise's standard deviation, of a range of 1.
_NOISE = 0.08
#: A change of each kind comes to so many pictures.
_SHARE = 0.5


def as_given(rgb_B3HW: Tensor, chosen_B: Tensor, settings: GivenSettings, seed: int, place: StepSlice) -> Tensor:
    """RGB in [-1, 1] with the ``chosen_B`` pictures changed, each by chances of its own place in the step."""
    if not (settings.grey or settings.camera):
        return rgb_B3HW
    made = rgb_B3HW.clone()
    with torch.autocast(made.device.type, enabled=False):  # half precision would round what is drawn
        for i, generator in enumerate(draw_generators(seed, place)):
            if not chosen_B[i]:
                continue
            if torch.rand((), generator=generator).item() < settings.grey:
                made[i] = rgb_to_yiq(made[i : i + 1])[0, 0]
            if settings.camera > 0:
                made[i] = photograph((made[i : i + 1] + 1) / 2, settings.camera, generator)[0] * 2 - 1
    return made


def photograph(rgb_B3HW: Tensor, strength: float, generator: Generator) -> Tensor:
    """RGB in [0, 1] as another camera would have it: the same lens and sensor for all B, noise of their own.

    Three changes, each with probability ½ and with a size uniform from 0 to ``strength`` (0 to 1) times its largest: a
    Gaussian blur, fewer pixels (averaged down, bilinear up again), grey or coloured normal noise.
    """
    chance, size = torch.rand(2, 4, generator=generator).tolist()
    side = rgb_B3HW.shape[-1]
    blur, coarse, noise = (s * strength if c < _SHARE else 0.0 for c, s in zip(chance[:3], size[:3], strict=True))
    made = rgb_B3HW
    if blur > 0:
        made = gaussian_blur(made, blur * _BLUR_PX * side / _SIDE_PX)
    if coarse > 0:
        fewer = max(1, round(side / (1 + coarse * (_COARSE - 1))))
        small = F.interpolate(made, size=(fewer, fewer), mode="bilinear", antialias=True)
        made = F.interpolate(small, size=(side, side), mode="bilinear")
    if noise > 0:
        channels = 1 if chance[3] < _SHARE else 3
        shape = (made.shape[0], channels, side, side)
        made = made + noise * _NOISE * torch.randn(shape, generator=generator).to(made)
    return made.clamp(0, 1)
