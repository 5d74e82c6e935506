"""Where mediapipe's landmarks lie on the ICT head: a triangle and barycentric weights for each of 468 landmarks.

The result ships as ``assets/mediapipe_to_ict.safetensors``; ``python -m data_prep correspond --people VIDEOS``
derives it again: the canonical face is registered to the head (:mod:`data_prep.convert.derive`) and the result
refined on videos of several people (:mod:`data_prep.convert.refine`). The shipped one was refined on 14
people: the folders ``grid``, ``motion`` and ``talking`` of the development videos. Irises (landmarks 468 … 477) have
no place on the skin and are left out.

Shapes: N landmarks, K identity modes, E expressions, V vertices, T triangles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor

from data_prep.head.model import MorphableModel

CORRESPONDENCE_FILE = Path(__file__).parents[1] / "assets" / "mediapipe_to_ict.safetensors"
LANDMARK_COUNT = 468
#: mediapipe's face oval, in order around the face.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)


@dataclass(frozen=True, eq=False)
class Correspondence:
    """mediapipe landmark → point on the ICT surface.

    * ``corners_N3`` (468, 3) int64: vertices of the triangle that holds the landmark
    * ``weights_N3`` (468, 3) float32: barycentric, non-negative, sum 1
    * ``trust_N`` (468,) float32 in (0, 1]: how far a landmark may be trusted in a fit; low where mediapipe slides along
      the contour or the surface is hidden (jaw and forehead ovals, brows, inner lips)
    """

    corners_N3: Tensor
    weights_N3: Tensor
    trust_N: Tensor

    def __post_init__(self) -> None:
        n = len(self.trust_N)
        if self.corners_N3.shape != (n, 3) or self.weights_N3.shape != (n, 3):
            raise ValueError("a Correspondence needs corners and weights (N, 3) and trust (N,)")

    def points(self, vertices_BV3: Tensor) -> Tensor:
        """The landmarks' points (B, N, 3) on meshes (B, V, 3) with ICT's vertices."""
        return (vertices_BV3[:, self.corners_N3] * self.weights_N3[..., None]).sum(2)

    def to(self, device: torch.device | str) -> Correspondence:
        """The same on another device."""
        return Correspondence(self.corners_N3.to(device), self.weights_N3.to(device), self.trust_N.to(device))


def load_correspondence(path: Path = CORRESPONDENCE_FILE, device: torch.device | str = "cpu") -> Correspondence:
    """The shipped correspondence, or another file of ``python -m data_prep correspond``.

    Raises FileNotFoundError for a missing file and ValueError for one of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: make it with `python -m data_prep correspond`")
    arrays = safetensors.numpy.load_file(path)
    if set(arrays) != {"corners", "weights", "trust"} or arrays["corners"].shape != (LANDMARK_COUNT, 3):
        raise ValueError(f"{path} is no correspondence file: make it with `python -m data_prep correspond`")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Correspondence(tensors["corners"].long(), tensors["weights"], tensors["trust"]).to(device)


def encode_correspondence(correspondence: Correspondence) -> bytes:
    """The file that :func:`load_correspondence` reads; bytes depend on the values alone."""
    return safetensors.numpy.save(
        {
            "corners": correspondence.corners_N3.numpy().astype(np.int32),
            "weights": correspondence.weights_N3.numpy().astype(np.float32),
            "trust": correspondence.trust_N.numpy().astype(np.float32),
        }
    )


def oval_region(model: MorphableModel, correspondence: Correspondence) -> Tensor:
    """(T,) bool: skin triangles inside mediapipe's face oval on the mean head.

    Only there landmarks hold the fit to the picture; ears, neck and the upper forehead follow from the model alone.
    A triangle counts by its centre, in longitude around the head's vertical axis and height, where the face is a disc.
    """
    oval = correspondence.points(model.mean_V3[None])[0, list(FACE_OVAL)]
    centres = model.mean_V3[model.faces_T3].mean(1)
    return model.skin_T & encircled(centres, oval)


def encircled(points_N3: Tensor, loop_P3: Tensor) -> Tensor:
    """(N,) bool: points of the front of a head (head axes, mm) that lie within a closed loop of points on it."""
    return _inside(_unroll(points_N3), _unroll(loop_P3))


def _unroll(points_N3: Tensor) -> Tensor:
    """Longitude (radians, 0 = straight ahead) and height (mm) around the vertical axis through the head's origin."""
    return torch.stack([torch.atan2(points_N3[:, 0], points_N3[:, 2]), points_N3[:, 1]], -1)


def _inside(points_N2: Tensor, polygon_P2: Tensor) -> Tensor:
    """(N,) bool by the even-odd rule: a ray to the right crosses the polygon an odd number of times."""
    a, b = polygon_P2, polygon_P2.roll(-1, 0)
    x, y = points_N2[:, :1], points_N2[:, 1:]
    spans = (a[:, 1] > y) != (b[:, 1] > y)
    across = a[:, 0] + (y - a[:, 1]) / (b[:, 1] - a[:, 1] + 1e-12) * (b[:, 0] - a[:, 0])
    return ((spans & (x < across)).sum(1) % 2).bool()
