"""The network of a user's that :mod:`data_prep.video.sync` judges by.

Weights are not ours to ship. A file of safetensors holds the published model's tensors by their names (the layout is
:class:`SyncNet`'s); a TorchScript file (``.pt``) has the methods ``forward_lip`` and ``forward_aud``; a file of ONNX
takes pictures (N, 3, 5, 224, 224) and MFCC (N, 1, 13, 20), and gives the vectors of its first input, then its second's.

Shapes: B windows of five pictures, C = 13 cepstra, M = 20 frames of MFCC, D numbers of a vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from jdap.io.onnx import open_onnx

#: Side of a picture, pictures of a window, and the frames of MFCC that sound with them.
SYNC_SIDE_PX, WINDOW, MFCC_WINDOW = 224, 5, 20
#: What the network's two halves take, without the number of windows.
PICTURES_SHAPE = (3, WINDOW, SYNC_SIDE_PX, SYNC_SIDE_PX)
MFCC_SHAPE = (1, 13, MFCC_WINDOW)


class SyncError(ValueError):
    """Weights that are no SyncNet's."""


class Embedders(Protocol):
    """(B, 3, 5, 224, 224) BGR 0 … 255 and (B, 1, 13, 20) MFCC → (B, 1024) each."""

    def forward_lip(self, bgr_B35hw: Tensor) -> Tensor:
        """Of five pictures."""

    def forward_aud(self, mfcc_B1CM: Tensor) -> Tensor:
        """Of the sound that goes with them."""


def _convolutions(kind: str, layers: list[tuple[Any, ...]]) -> nn.Sequential:
    """Convolutions, each with norm and ReLU: (in, out, kernel, stride, padding[, pool's kernel, stride, padding])."""
    conv, norm, pool = {
        "2d": (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d),
        "3d": (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d),
    }[kind]
    modules: list[nn.Module] = []
    for inside, outside, kernel, stride, padding, *pooled in layers:
        modules += [conv(inside, outside, kernel, stride, padding), norm(outside), nn.ReLU()]
        if pooled:
            modules.append(pool(*pooled))
    return nn.Sequential(*modules)


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """The published network: layer sizes of the paper's table 1, tensors named as in its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = _convolutions(
            "2d",
            [
                (1, 64, 3, 1, 1, 1, 1, 0),
                (64, 192, 3, 1, 1, 3, (1, 2), 0),
                (192, 384, 3, 1, 1),
                (384, 256, 3, 1, 1),
                (256, 256, 3, 1, 1, 3, 2, 0),
                (256, 512, (5, 4), 1, 0),
            ],
        )
        third = ((1, 3, 3), 1, (0, 1, 1))
        self.netcnnlip = _convolutions(
            "3d",
            [
                (3, 96, (5, 7, 7), (1, 2, 2), 0, (1, 3, 3), (1, 2, 2), 0),
                (96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1), (1, 3, 3), (1, 2, 2), (0, 1, 1)),
                (256, 256, *third),
                (256, 256, *third),
                (256, 256, *third, (1, 3, 3), (1, 2, 2), 0),
                (256, 512, (1, 6, 6), 1, 0),
            ],
        )
        self.netfcaud, self.netfclip = _head(), _head()

    def forward_lip(self, bgr_B35hw: Tensor) -> Tensor:
        """(B, 3, 5, 224, 224) → (B, 1024)."""
        out: Tensor = self.netfclip(self.netcnnlip(bgr_B35hw).flatten(1))
        return out

    def forward_aud(self, mfcc_B1CM: Tensor) -> Tensor:
        """(B, 1, 13, 20) → (B, 1024)."""
        out: Tensor = self.netfcaud(self.netcnnaud(mfcc_B1CM).flatten(1))
        return out


class OnnxSyncNet:
    """A network in ONNX with two inputs, told apart by their shapes, and as many outputs in the same order; it runs on
    the CPU. Raises :class:`SyncError` for another one, and ImportError without onnxruntime."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._session = open_onnx(path)
        except ValueError as error:
            raise SyncError(str(error)) from error
        halves = zip(self._session.get_inputs(), self._session.get_outputs(), strict=False)
        self._halves = {len(entry.shape): (entry, leave.name) for entry, leave in halves}
        shapes = [list(entry.shape) for entry in self._session.get_inputs()]
        if len(shapes) != 2 or not all(self._takes(one) for one in (PICTURES_SHAPE, MFCC_SHAPE)):
            raise SyncError(f"{path}: must take (N, 3, 5, 224, 224) and (N, 1, 13, 20) of float32, but takes {shapes}")

    def _takes(self, shape: tuple[int, ...]) -> bool:
        entry, _ = self._halves.get(len(shape) + 1, (None, ""))
        if entry is None or entry.type != "tensor(float)":
            return False
        return all(not isinstance(own, int) or own == its for own, its in zip(entry.shape[1:], shape, strict=True))

    def forward_lip(self, bgr_B35hw: Tensor) -> Tensor:
        """As :class:`Embedders` has it."""
        return self._run(bgr_B35hw, MFCC_SHAPE)

    def forward_aud(self, mfcc_B1CM: Tensor) -> Tensor:
        """As :class:`Embedders` has it."""
        return self._run(mfcc_B1CM, PICTURES_SHAPE)

    def _run(self, given: Tensor, other: tuple[int, ...]) -> Tensor:
        """One half of the network, the other looks at nothing: a file of ONNX wants all of its inputs."""
        (entry, leave), (idle, _) = self._halves[given.ndim], self._halves[len(other) + 1]
        at_once = entry.shape[0] if isinstance(entry.shape[0], int) else len(given)
        nothing = np.zeros((idle.shape[0] if isinstance(idle.shape[0], int) else 1, *other), np.float32)
        found = []
        for part in given.cpu().float().split(at_once):
            full = torch.cat([part, part[-1:].expand(at_once - len(part), *part.shape[1:])])
            try:
                (out,) = self._session.run([leave], {entry.name: full.numpy(), idle.name: nothing})
            except Exception as error:  # onnxruntime's errors have no common base but this
                raise SyncError(f"{self._path}: does not run ({str(error).splitlines()[0]})") from error
            if out.ndim != 2 or len(out) != at_once:
                raise SyncError(f"{self._path}: gives {out.shape} for {at_once} windows; wanted (N, D)")
            found.append(torch.from_numpy(out[: len(part)]))
        return torch.cat(found)


def load_syncnet(path: Path, device: str = "cpu") -> Embedders:
    """The user's network; raises :class:`SyncError` for a file that is none of the three kinds, or not whole."""
    if path.suffix == ".safetensors":
        net = SyncNet()
        try:
            tensors = safetensors.torch.load_file(path)
        except Exception as error:  # safetensors raises its own type, and OSError
            raise SyncError(f"{path} cannot be read ({error}): give SyncNet's weights as safetensors") from error
        want = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
        got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        off = sorted(name for name in want.keys() | got.keys() if want.get(name) != got.get(name))
        off = [name for name in off if not name.endswith("num_batches_tracked")]
        if off:
            raise SyncError(
                f"{path} is not SyncNet's: {len(off)} tensors missing, unknown or of another shape: {off[0]}"
            )
        net.load_state_dict(tensors, strict=False)
        return net.eval().to(device)
    if path.suffix in (".pt", ".ts"):
        try:
            script = torch.jit.load(str(path), map_location=device)
        except (RuntimeError, ValueError, OSError) as error:
            raise SyncError(f"{path} is no TorchScript ({str(error).splitlines()[0]}); pickles are not read") from error
        if not (hasattr(script, "forward_lip") and hasattr(script, "forward_aud")):
            raise SyncError(f"{path} lacks the methods forward_lip and forward_aud")
        script.eval()
        return script
    if path.suffix == ".onnx":
        return OnnxSyncNet(path)
    raise SyncError(f"{path}: give SyncNet's weights as .safetensors, TorchScript (.pt) or .onnx")
