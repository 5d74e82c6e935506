"""A small U-Net that says something of every pixel of a head's picture, and its file of weights.

It works at half of the picture's resolution. What ships of its kind tells parts of a head apart
(:mod:`jdap.faces.parser_net`).

Shapes: B pictures, N x N pixels, I channels in and O out.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from jdap.io.files import write_whole

Net = TypeVar("Net", bound="SmallUNet")


class SmallUNet(nn.Module):
    """Maps (B, I, N, N) → (B, O, N, N); N a multiple of 2 to the power of how many ``widths`` there are."""

    def __init__(self, inside: int, outside: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), _Layer(4 * inside, widths[0]))
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(_Layer(a, b, 2), _Residual(b)) for a, b in steps)
        self.deep = nn.Sequential(_Residual(widths[-1]), _Residual(widths[-1]))
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(steps))
        self.up = nn.ModuleList(_Residual(a) for a, _ in reversed(steps))
        self.leave = nn.Sequential(nn.Conv2d(widths[0], 4 * outside, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, maps_BINN: Tensor) -> Tensor:
        """(B, O, N, N)."""
        x = self.enter(maps_BINN)
        seen = []
        for step in self.down:
            seen.append(x)
            x = step(x)
        x = self.deep(x)
        for narrow, up in zip(self.narrow, self.up, strict=True):
            skip = seen.pop()
            x = up(skip + F.interpolate(narrow(x), scale_factor=2.0, mode="nearest"))
        return self.leave(x)


class _Layer(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class _Residual(nn.Module):
    """What a layer makes of its input is added to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = _Layer(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


def fused(net: Net) -> Net:
    """The network in evaluation mode with its normalisations inside of its convolutions: the same, and faster."""
    net.eval()
    for part in net.modules():
        if isinstance(part, _Layer) and isinstance(part.norm, nn.BatchNorm2d):
            part.conv = fuse_conv_bn_eval(part.conv, part.norm)
            part.norm = nn.Identity()
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def save_numbers(net: SmallUNet, path: Path) -> None:
    """Write a network's numbers as float16, whole or not at all."""
    write_whole(path, save({name: x.half() for name, x in net.state_dict().items() if x.is_floating_point()}))


def load_numbers(net: SmallUNet, path: Path) -> None:
    """Give a network the numbers of a file that :func:`save_numbers` wrote.

    Raises RuntimeError for a file of another network or version, and OSError or safetensors.SafetensorError for what is
    no file of the kind.
    """
    numbers = {name: x.float() for name, x in load_file(path).items()}
    missing, _ = net.load_state_dict(numbers, strict=False)
    # How many batches there were is a whole number, and of training alone.
    unmade = [name for name in missing if not name.endswith("num_batches_tracked")]
    if unmade:
        raise RuntimeError(f"of another version: lacks {unmade[0]}")
