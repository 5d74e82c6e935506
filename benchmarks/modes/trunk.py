"""What makes numbers of a picture, or of a clip, that sets of them are compared by: ST-LPIPS's AlexNet for pictures, or
a network of your own.

Shapes: B pictures, T frames, S x S pixels, E numbers of a feature.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks import BenchmarkError
from jdap.io.onnx import open_onnx
from jdap.metrics.perceptual import PerceptualError, StLpips
from jdap.pipelines.pictures import sized

#: What the page and the tables call the trunk that is there by default.
ALEXNET = "ST-LPIPS's AlexNet, last layer"


class Trunk(Protocol):
    """Pictures (B, 3, S, S) in [-1, 1] → features (B, E) float32 on the CPU; ``name`` says by what."""

    name: str

    def __call__(self, rgb_B3SS: Tensor) -> Tensor:
        """The features."""


class AlexTrunk:
    """The last layer of :class:`jdap.metrics.perceptual.StLpips`, of length 1 in each place, averaged over places.

    The mean is multiplied by √E, E = 256: KID's kernel divides by E, and would else be all but linear.
    Raises :class:`BenchmarkError` where the weights are not installed.
    """

    name = ALEXNET

    def __init__(self) -> None:
        try:
            self._network = StLpips()
        except PerceptualError as error:
            raise BenchmarkError(f"{error}; or name a network of your own: --trunk FILE.onnx") from error

    def __call__(self, rgb_B3SS: Tensor) -> Tensor:
        """As :class:`Trunk` has it."""
        last = self._network.features(rgb_B3SS.float().cpu())[-1]
        return last.mean((2, 3)) * last.shape[1] ** 0.5


class _OnnxFeatures:
    """A file of ONNX that takes one array of float32; ``shape`` of it, words or None for sides that are left open."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path
        try:
            self._session = open_onnx(path)
        except (ImportError, ValueError) as error:
            raise BenchmarkError(str(error)) from error
        (entry, *others), (leave, *_) = self._session.get_inputs(), self._session.get_outputs()
        self.shape = list(entry.shape)
        self.alone = not others and entry.type == "tensor(float)"
        self._one_by_one, self._names = isinstance(self.shape[0], int), (entry.name, leave.name)

    def __call__(self, given: np.ndarray) -> Tensor:
        """Features (N, E) float32 of N pictures or clips; what lies behind E is averaged over.

        Raises :class:`BenchmarkError` where the network does not run.
        """
        entry, leave = self._names
        parts = np.split(given, len(given)) if self._one_by_one else [given]
        try:
            found = np.concatenate([self._session.run([leave], {entry: part})[0] for part in parts])
        except Exception as error:  # onnxruntime's errors have no common base but this
            raise BenchmarkError(f"{self._path}: does not run ({str(error).splitlines()[0]})") from error
        if found.ndim < 2 or len(found) != len(given):
            raise BenchmarkError(f"{self._path}: gives {found.shape} for {len(given)} inputs; wanted (N, E)")
        return torch.from_numpy(found.mean(tuple(range(2, found.ndim)))).float()


class OnnxTrunk:
    """A file of ONNX from pictures (N, 3, S, S) float32 in [-1, 1], and nothing else, to features (N, E), or
    (N, E, h, w), which are averaged over places. S may be open; else pictures are brought to it.

    Raises :class:`BenchmarkError` naming the file.
    """

    def __init__(self, path: Path) -> None:
        self._features = _OnnxFeatures(path)
        self.name, shape = path.name, self._features.shape
        if not self._features.alone or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise BenchmarkError(f"{path}: must take pictures (N, 3, S, S) of float32 alone, but takes {shape}")
        self._side_px = shape[2] if isinstance(shape[2], int) else None

    def __call__(self, rgb_B3SS: Tensor) -> Tensor:
        """As :class:`Trunk` has it. Raises :class:`BenchmarkError` where the network does not run."""
        given = torch.stack([sized(one, "pictures", self._side_px) for one in rgb_B3SS.float().cpu()])
        return self._features(given.numpy())


class OnnxClipTrunk:
    """A file of ONNX from clips (N, 3, T, S, S) or (N, T, 3, S, S) float32 in [-1, 1], and nothing else, to features
    (N, E); what lies behind E is averaged over. S may be open; T, too, and is ``frames`` then.

    ``frames`` is T, the frames of a clip. Raises :class:`BenchmarkError` naming the file.
    """

    def __init__(self, path: Path, frames: int) -> None:
        self._features = _OnnxFeatures(path)
        self.name, shape = path.name, self._features.shape
        if not self._features.alone or len(shape) != 5 or 3 not in shape[1:3] or shape[3] != shape[4]:
            raise BenchmarkError(f"{path}: must take clips (N, 3, T, S, S) or (N, T, 3, S, S) alone, but takes {shape}")
        self._colours_first = shape[1] == 3
        length = shape[2 if self._colours_first else 1]
        self.frames = length if isinstance(length, int) else frames
        self._side_px = shape[3] if isinstance(shape[3], int) else None

    def __call__(self, rgb_T3SS: Tensor) -> Tensor:
        """Features (E,) float32 of a clip of T frames (T, 3, S, S) in [-1, 1]."""
        clip = torch.stack([sized(one, "frames", self._side_px) for one in rgb_T3SS.float().cpu()])
        return self._features((clip.transpose(0, 1) if self._colours_first else clip)[None].numpy())[0]


def trunk_of(path: Path | None) -> Trunk:
    """The trunk of ``--trunk``."""
    return AlexTrunk() if path is None else OnnxTrunk(path)
