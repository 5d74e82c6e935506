"""A parser of your own: a network in ONNX, with a JSON beside it that says what its classes are.

``parser.json`` beside ``parser.onnx``::

    {"classes": ["background", "hair", "skin", "skin", "cloth", "glasses"],
     "range": [0, 1], "softmax": true, "side_px": 256}

* ``classes``: the word of :data:`jdap.choices.PARSED` for each channel of the output, in order; a word may come several
  times, and stands for all of them together
* ``range``: what black and white are in the input (default 0 and 1)
* ``softmax``: whether the output are logits (default), or shares that are taken as they are
* ``side_px``: side of the input, for networks that leave it open

The input is one picture or a batch, (N, 3, side, side) or (N, side, side, 3) float32, and the output has the same
layout with its classes in place of colours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jdap.choices import PARSED
from jdap.faces.parsing import AT_ONCE, ParserError, sized
from jdap.io.onnx import open_onnx


class OnnxParser:
    """A file of ONNX, run on the CPU by one thread. Raises :class:`jdap.faces.parsing.ParserError` naming the file for
    what is no parser, and ImportError without onnxruntime."""

    def __init__(self, path: Path) -> None:
        self.path = path
        told = _told(path)
        self.classes, (self.low, self.high), self.logits = told["classes"], told["range"], told["softmax"]
        self._session = _session(path)
        (entry, *others), (leave, *_) = self._session.get_inputs(), self._session.get_outputs()
        shape = list(entry.shape)
        if others or len(shape) != 4 or entry.type != "tensor(float)" or 3 not in (shape[1], shape[3]):
            raise ParserError(f"{path}: takes no pictures (N, 3, S, S) or (N, S, S, 3) of float32 alone, but {shape}")
        self.colours_last = shape[1] != 3
        side = shape[2] if isinstance(shape[2], int) else told["side_px"]
        if not isinstance(side, int) or side < 8:
            raise ParserError(f"{path}: leaves its side open: say it in {_beside(path).name}, as side_px")
        self.side_px, self.at_once = side, shape[0] if isinstance(shape[0], int) else AT_ONCE
        self._names = entry.name, leave.name

    def shares(self, rgb_FSS3: np.ndarray) -> np.ndarray:
        """As :meth:`jdap.faces.parsing.Parser.shares`."""
        return np.concatenate(
            [self._some(rgb_FSS3[i : i + self.at_once]) for i in range(0, len(rgb_FSS3), self.at_once)]
        )

    def _some(self, rgb_FSS3: np.ndarray) -> np.ndarray:
        count, side = rgb_FSS3.shape[:2]
        rgb = torch.from_numpy(np.array(rgb_FSS3)).permute(0, 3, 1, 2).float() / 255
        rgb = sized(rgb, self.side_px) * (self.high - self.low) + self.low
        if isinstance(self.at_once, int) and count < self.at_once:
            rgb = torch.cat([rgb, rgb[-1:].expand(self.at_once - count, -1, -1, -1)])
        given = (rgb.permute(0, 2, 3, 1) if self.colours_last else rgb).contiguous().numpy()
        entry, leave = self._names
        out = torch.from_numpy(self._session.run([leave], {entry: given})[0])[:count]
        out = out.permute(0, 3, 1, 2) if self.colours_last else out
        if out.ndim != 4 or out.shape[1] != len(self.classes):
            raise ParserError(f"{self.path}: gives {tuple(out.shape)}, for {len(self.classes)} classes in its JSON")
        return sized(self._in_our_words(out.float()), side).numpy()

    def _in_our_words(self, out_FKNN: Tensor) -> Tensor:
        """(F, C, N, N): shares of our classes, sum 1."""
        likely = out_FKNN.softmax(1) if self.logits else out_FKNN.clamp_min(0)
        found = likely.new_zeros(len(likely), len(PARSED), *likely.shape[2:])
        for channel, name in enumerate(self.classes):
            found[:, PARSED.index(name)] += likely[:, channel]
        return found / found.sum(1, keepdim=True).clamp_min(1e-6)


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _told(path: Path) -> dict[str, Any]:
    """What the JSON beside a file says, checked."""
    beside = _beside(path)
    example = '{"classes": ["background", "skin", …]}'
    try:
        told: dict[str, Any] = {"range": [0, 1], "softmax": True, "side_px": None} | json.loads(
            beside.read_text(encoding="utf-8")
        )
        told["range"] = tuple(float(x) for x in told["range"])
        unknown = set(told["classes"]) - set(PARSED)
    except FileNotFoundError as error:
        raise ParserError(
            f"{path}: nothing says what its classes are: write {beside.name} beside it, {example}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParserError(f"{beside}: cannot be read as {example} ({error})") from error
    if unknown or len(told["range"]) != 2:
        raise ParserError(f"{beside}: unknown classes {sorted(unknown)}; they are {', '.join(PARSED)}")
    return told


def _session(path: Path) -> Any:
    try:
        return open_onnx(path)
    except ValueError as error:
        raise ParserError(str(error)) from error
