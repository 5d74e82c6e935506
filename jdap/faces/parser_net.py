"""The parser of heads that ships: a small U-Net, trained on the studio's people (``python -m benchmarks parser``).

It has seen squares cut about a head as :mod:`jdap.faces.crop` cuts them.

Shapes: F pictures, S x S pixels of any size, C = 6 classes (:data:`jdap.choices.PARSED`), N x N pixels in the network.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from jdap.choices import PARSED
from jdap.faces.parsing import AT_ONCE, ParserError, sized
from jdap.io.files import write_whole
from jdap.small_unet import SmallUNet, fused, load_numbers, save_numbers

WEIGHTS_FILE, CONFIG_FILE = "parser.safetensors", "config.json"
#: Side of the pictures that the shipped network sees, and the channels of its levels.
SIDE_PX, WIDTHS = 128, (16, 32, 64, 128)


class ParserNet(SmallUNet):
    """Pictures (F, 3, N, N) in [-1, 1] → logits (F, C, N, N); N a multiple of 16."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, classes: int = len(PARSED)) -> None:
        super().__init__(3, classes, widths)


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
    save_numbers(net, folder / WEIGHTS_FILE)


def load_studio_parser(folder: Path, device: torch.device | str = "cpu") -> StudioParser:
    """The parser of a folder that :func:`save_parser` wrote. Raises :class:`ParserError` naming it."""
    remedy = "make it with `python -m benchmarks parser`"
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        if tuple(config["classes"]) != PARSED:
            raise ParserError(f"{folder}: holds a parser of another version; {remedy}")
        net = ParserNet(tuple(config["widths"]))
        load_numbers(net, folder / WEIGHTS_FILE)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        if isinstance(error, ParserError):
            raise
        raise ParserError(f"{folder}: holds no parser ({' '.join(str(error).split())}); {remedy}") from error
    return StudioParser(net, device, config["side_px"])
