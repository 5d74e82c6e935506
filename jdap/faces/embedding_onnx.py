"""Embeddings of faces by a network of your own in ONNX: ArcFace's, or any that was trained on faces cut out like its.

The input is one face or a batch, (N, 3, S, S) or (N, S, S, 3) float32, which the file's shape tells; S is 112 where it
is left open. Each face is turned, scaled and shifted so that its five points (eyes, nose, corners of the mouth) come to
lie as near as can be where those of ArcFace's training set lie. The output are embeddings (N, E). They are brought to
length 1, so that the distance d of two has the cosine 1 − d² / 2.

Pictures are RGB in [-1, 1], as ArcFace's networks want them, unless a JSON beside the file, ``mine.json`` beside
``mine.onnx``, says otherwise::

    {"range": [0, 255], "bgr": true}

* ``range``: what black and white are in the input (default -1 and 1)
* ``bgr``: blue comes first (default: red)

Shapes: B pictures, H x W pixels, N landmarks, S x S pixels of a cut-out face, E numbers of an embedding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.io.onnx import open_onnx

#: Side of ArcFace's cut-out faces, and where in it the middles of the eyes (at the picture's left first), the tip of
#: the nose and the corners of the mouth lie: x and y, whole numbers are middles of pixels.
ARCFACE_SIDE_PX = 112
ARCFACE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
#: mediapipe's landmarks of these: a point is the mean of those that are named.
ARCFACE_LANDMARKS = ((33, 133), (362, 263), (1,), (61,), (291,))


class EmbedderError(ValueError):
    """A file that is no network for faces; the message is one line that names it."""


def cut_out(rgb_3HW: Tensor, landmarks_px_N2: np.ndarray, side_px: int) -> Tensor:
    """The face (3, S, S) of a picture in [-1, 1], by mediapipe's landmarks in its pixels; black beyond its edge.

    Five points are brought to ArcFace's by the similarity of least squares. Larger faces are first shrunk, pixels
    averaged, to the size that they will have. Of points that all lie in one place (no face was found in any picture)
    that place is cut out, neither scaled nor turned.
    """
    found = np.stack([landmarks_px_N2[list(some), :2].mean(0) for some in ARCFACE_LANDMARKS])
    # A pixel's middle is half a pixel from its corner, from which landmarks are counted.
    source, goal = _complex(found - 0.5), _complex(np.array(ARCFACE_POINTS) * (side_px / ARCFACE_SIDE_PX))
    size = abs(_similarity(source, goal)[0])
    if size < 1:
        small = [max(1, round(size * side)) for side in rgb_3HW.shape[1:]]
        shrunk = F.interpolate(rgb_3HW[None], small, mode="bilinear", antialias=True)[0]
        height, width = (new / old for new, old in zip(small, rgb_3HW.shape[1:], strict=True))
        source, rgb_3HW = _complex(found * [width, height] - 0.5), shrunk
    turn, shift = _similarity(source, goal)
    y, x = np.mgrid[:side_px, :side_px]
    at = (x + 1j * y - shift) / turn
    ends = np.maximum(np.array([rgb_3HW.shape[2], rgb_3HW.shape[1]]) - 1, 1)
    grid = torch.from_numpy(np.stack([at.real, at.imag], -1) * 2 / ends - 1).to(rgb_3HW.dtype)
    return F.grid_sample(rgb_3HW[None] + 1, grid[None], align_corners=True)[0] - 1


class OnnxEmbedder:
    """A file of ONNX, run on the CPU by one thread. Raises :class:`EmbedderError` naming the file for what is no
    network for faces, and ImportError without onnxruntime."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path
        (self._low, self._high), self._bgr = _told(path)
        try:
            self._session = open_onnx(path)
        except ValueError as error:
            raise EmbedderError(str(error)) from error
        (entry, *others), (leave, *_) = self._session.get_inputs(), self._session.get_outputs()
        shape = list(entry.shape)
        if others or len(shape) != 4 or entry.type != "tensor(float)" or 3 not in (shape[1], shape[3]):
            raise EmbedderError(f"{path}: takes no faces (N, 3, S, S) or (N, S, S, 3) of float32 alone, but {shape}")
        self._colours_last = shape[1] != 3
        sides = {side for side in (shape[1:3] if self._colours_last else shape[2:]) if isinstance(side, int)}
        if len(sides) > 1:
            raise EmbedderError(f"{path}: takes {shape}; faces are cut out as squares")
        self._side_px = next(iter(sides), ARCFACE_SIDE_PX)
        self._at_once = shape[0] if isinstance(shape[0], int) else None
        self._names = entry.name, leave.name

    def __call__(self, rgb_B3HW: Tensor, landmarks_px_BN2: np.ndarray) -> Tensor:
        """Embeddings (B, E) float32 of length 1 of pictures (B, 3, H, W) in [-1, 1], by mediapipe's landmarks.

        Raises :class:`EmbedderError` where the network does not run, or gives something else than embeddings.
        """
        pictures = rgb_B3HW.float().cpu()
        pairs = zip(pictures, landmarks_px_BN2, strict=True)
        faces = torch.stack([cut_out(one, points, self._side_px) for one, points in pairs])
        faces = (faces + 1) / 2 * (self._high - self._low) + self._low
        faces = faces.flip(1) if self._bgr else faces
        parts = (faces.permute(0, 2, 3, 1) if self._colours_last else faces).split(self._at_once or len(faces))
        return F.normalize(torch.cat([self._some(part) for part in parts]))

    def _some(self, faces: Tensor) -> Tensor:
        count = len(faces)
        if self._at_once is not None and count < self._at_once:
            faces = torch.cat([faces, faces[-1:].expand(self._at_once - count, *faces.shape[1:])])
        entry, leave = self._names
        try:
            found = torch.from_numpy(self._session.run([leave], {entry: faces.contiguous().numpy()})[0])[:count]
        except Exception as error:  # onnxruntime's errors have no common base but this
            raise EmbedderError(f"{self._path}: does not run ({str(error).splitlines()[0]})") from error
        if found.ndim != 2 or len(found) != count:
            raise EmbedderError(f"{self._path}: gives {tuple(found.shape)} for {count} faces; wanted (N, E)")
        if not found.isfinite().all() or not found.any(1).all():
            raise EmbedderError(f"{self._path}: gives numbers that are not finite, or nothing but 0")
        return found.float()


def _complex(points_K2: np.ndarray) -> np.ndarray:
    return points_K2[:, 0] + 1j * points_K2[:, 1]


def _similarity(source_K: np.ndarray, goal_K: np.ndarray) -> tuple[complex, complex]:
    """(a, b) of ``goal ≈ a · source + b`` by least squares, in complex numbers: |a| scales, the angle of a turns."""
    own, its = source_K - source_K.mean(), goal_K - goal_K.mean()
    spread = np.vdot(own, own).real
    turn = np.vdot(own, its) / spread if spread > 0 else 1.0
    return complex(turn), complex(goal_K.mean() - turn * source_K.mean())


def _told(path: Path) -> tuple[tuple[float, float], bool]:
    """What the JSON beside a file says, if there is one: the range, and whether blue comes first."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return (-1.0, 1.0), False
    try:
        told: dict[str, Any] = {"range": [-1, 1], "bgr": False} | json.loads(beside.read_text(encoding="utf-8"))
        low, high = (float(x) for x in told.pop("range"))
        bgr = told.pop("bgr")
    except (OSError, ValueError, TypeError) as error:
        raise EmbedderError(f'{beside}: cannot be read as {{"range": [0, 255], "bgr": true}} ({error})') from error
    if told or not isinstance(bgr, bool):
        raise EmbedderError(f"{beside}: has unknown entries {sorted(told)}, or a bgr that is not true or false")
    return (low, high), bgr
