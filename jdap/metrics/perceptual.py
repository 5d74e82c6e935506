"""How far apart two pictures look: ST-LPIPS, a perceptual distance that a shift of a pixel hardly changes.

Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022 (arXiv 2207.13686): features of an AlexNet
that blurs before it takes every second pixel, normalised in each place; their squared differences, weighted by channel,
are averaged over places and summed over layers. Its weights (BSD-2) come with the package ``stlpips_pytorch``, of which
nothing else is used: the package's own network asks for torchvision, IPython and torchsummary.

Shapes: B pictures, H x W pixels, C channels of a layer.
"""

from __future__ import annotations

from importlib.resources import files

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Channels, kernel and padding of each convolution.
LAYERS = ((64, 11, 2), (192, 5, 2), (384, 3, 1), (256, 3, 1), (256, 3, 1))
#: Names of the convolutions in the file of weights.
NAMES = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")
#: Mean and spread of natural pictures in [-1, 1], which the first layer was trained with.
VGG_SHIFT, VGG_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
#: Layers in front of which a maximum and a blur halve the picture; the first layer is blurred behind its convolution.
HALVED = (1, 2)
LEAST_SIDE_PX = 32


class PerceptualError(ImportError):
    """The weights of the metric are not installed; the message says how to get them."""


class StLpips(nn.Module):
    """ST-LPIPS distances. Raises :class:`PerceptualError` where the package with the weights is not installed."""

    def __init__(self) -> None:
        super().__init__()
        try:
            path = files("stlpips_pytorch") / "weights" / "vST0.0" / "alex_shift_tolerant.pth"
            stored = torch.load(str(path), map_location="cpu", weights_only=True)
        except (ImportError, OSError) as error:
            raise PerceptualError(f"ST-LPIPS needs its weights ({error}): pip install 'jdap[perceptual]'") from error
        channels = 3
        self.convolutions, self.weights = nn.ModuleList(), nn.ParameterList()
        for k, ((wide, kernel, padding), name) in enumerate(zip(LAYERS, NAMES, strict=True)):
            convolution = nn.Conv2d(channels, wide, kernel, padding=padding)
            convolution.load_state_dict({part: stored[f"net.{name}.{part}"] for part in ("weight", "bias")})
            self.convolutions.append(convolution)
            self.weights.append(stored[f"lin{k}.model.1.weight"])
            channels = wide
        self.requires_grad_(False)

    def features(self, rgb_B3HW: Tensor) -> list[Tensor]:
        """The layers (B, C, h, w) of pictures in [-1, 1], normalised to length 1 over their channels."""
        shift, scale = (rgb_B3HW.new_tensor(x)[:, None, None] for x in (VGG_SHIFT, VGG_SCALE))
        x, found = (rgb_B3HW - shift) / scale, []
        for k, convolution in enumerate(self.convolutions):
            if k in HALVED:
                x = halved(F.max_pool2d(x, 3, stride=1))
            x = convolution(x)
            x = F.relu(halved(x) if k == 0 else x)
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def forward(self, one_B3HW: Tensor, other_B3HW: Tensor) -> Tensor:
        """Distances (B,) of pictures (B, 3, H, W) in [-1, 1] to as many others, 0 or more."""
        if one_B3HW.shape != other_B3HW.shape or min(one_B3HW.shape[-2:]) < LEAST_SIDE_PX:
            raise ValueError(
                f"pictures must be of one shape, {LEAST_SIDE_PX} pixels or more, got {tuple(one_B3HW.shape)} and "
                f"{tuple(other_B3HW.shape)}"
            )
        total = one_B3HW.new_zeros(len(one_B3HW))
        layers = zip(self.features(one_B3HW), self.features(other_B3HW), self.weights, strict=True)
        for one, other, weight in layers:
            total = total + F.conv2d((one - other).square(), weight).mean((1, 2, 3))
        return total


def halved(x_BCHW: Tensor) -> Tensor:
    """Every second pixel of a blur by 1, 2, 1 across and down; the edge is mirrored, two pixels of it kept."""
    taps = x_BCHW.new_tensor([1.0, 2.0, 1.0])
    kernel = (taps[:, None] * taps / 16).expand(x_BCHW.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x_BCHW, [2] * 4, mode="reflect"), kernel, stride=2, groups=x_BCHW.shape[1])
