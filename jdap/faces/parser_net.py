"""The parser of heads that ships: a small U-Net, trained on the studio's people (``python -m benchmarks parser``).

It works at half of the picture's resolution. It has seen squares cut about a head as :mod:`jdap.faces.crop` cuts them.

Shapes: F pictures, S x S pixels of any size, C = 6 classes (:data:`jdap.choices.PARSED`), N x N pixels in the network.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from jdap.choices import PARSED
from jdap.faces.parsing import AT_ONCE, ParserError, sized
from jdap.io.files import write_whole

WEIGHTS_FILE, CONFIG_FILE = "parser.safetensors", "config.json"
#: Side of the pictures that the shipped network sees, and the channels of its levels.
SIDE_PX, WIDTHS = 128, (16, 32, 64, 128)


class ParserNet(nn.Module):
    """Pictures (F, 3, N, N) in [-1, 1] → logits (F, C, N, N); N a multiple of 16."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, classes: int = len(PARSED)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), _Layer(12, widths[0]))
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(_Layer(a, b, 2), _Residual(b)) for a, b in steps)
        self.deep = nn.Sequential(_Residual(widths[-1]), _Residual(widths[-1]))
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(steps))
        self.up = nn.ModuleList(_Residual(a) for a, _ in reversed(steps))
        self.leave = nn.Sequential(nn.Conv2d(widths[0], 4 * classes, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, rgb_F3NN: Tensor) -> Tensor:
        """Logits (F, C, N, N)."""
        x = self.enter(rgb_F3NN)
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


def fused(net: ParserNet) -> ParserNet:
    """The network in evaluation mode with its normalisations inside of its convolutions: the same, and faster."""
    net.eval()
    for part in net.modules():
        if isinstance(part, _Layer) and isinstance(part.norm, nn.BatchNorm2d):
            part.conv = fuse_conv_bn_eval(part.conv, part.norm)
            part.norm = nn.Identity()
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class StudioParser:
    """The parser that ships, or one of its kind, on a device."""

    def __init__(self, net: ParserNet, device: torch.device | str = "cpu", side_px: int = SIDE_PX) -> None:
        self.net, self.device, self.side_px = fused(net).to(device), torch.device(device), side_px

    @torch.inference_mode()
    def shares(self, rgb_FSS3: np.ndarray) -> np.ndarray:
        """As :meth:`jdap.faces.parsing.Parser.shares`."""
        found = [self._some(rgb_FSS3[i : i + AT_ONCE]) for i in range(0, len(rgb_FSS3), AT_ONCE)]
        return np.concatenate(found)

    def _some(self, rgb_FSS3: np.ndarray) -> np.ndarray:
        rgb = torch.from_numpy(np.array(rgb_FSS3)).to(self.device).permute(0, 3, 1, 2)
        rgb = sized(rgb.float() / 127.5 - 1, self.side_px)
        likely = self.net(rgb.contiguous(memory_format=torch.channels_last)).softmax(1)
        return sized(likely, rgb_FSS3.shape[1]).contiguous().cpu().numpy()


def save_parser(net: ParserNet, folder: Path, told: dict[str, object]) -> None:
    """Write a network as float16 with its configuration, and what is ``told`` of its making, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"side_px": SIDE_PX, "widths": list(net.widths), "classes": list(PARSED)} | told
    write_whole(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
    state = {name: x.half() for name, x in net.state_dict().items() if x.is_floating_point()}
    write_whole(folder / WEIGHTS_FILE, save(state))


def load_studio_parser(folder: Path, device: torch.device | str = "cpu") -> StudioParser:
    """The parser of a folder that :func:`save_parser` wrote. Raises :class:`ParserError` naming it."""
    remedy = "make it with `python -m benchmarks parser`"
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS_FILE)
        net = ParserNet(tuple(config["widths"]), len(config["classes"]))
        missing = set(net.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False).missing_keys)
        unmade = {name for name in missing if not name.endswith("num_batches_tracked")}
        if tuple(config["classes"]) != PARSED or unmade:
            raise ParserError(f"{folder}: holds a parser of another version; {remedy}")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        if isinstance(error, ParserError):
            raise
        raise ParserError(f"{folder}: holds no parser ({' '.join(str(error).split())}); {remedy}") from error
    return StudioParser(net, device, config["side_px"])
