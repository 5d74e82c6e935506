"""Heads that are fitted to the first pictures of pairs, as shapes for light.

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.depth.photo_heads import FACE_LOOK_PX, FITS, HeadGuesses, face_of
from benchmarks.relight.pairs import Pairs
from jdap.faces.landmarker import Landmarker
from jdap.light.ratio import Shape
from jdap.shape.normals import edge_normals

FIT = "fitted_head_mm"


def shape_of(depth_mm_B1SS: Tensor, camera_px_B3: Tensor) -> Shape:
    """A depth map as light sees it."""
    return Shape(edge_normals(depth_mm_B1SS, camera_px_B3), depth_mm_B1SS, camera_px_B3)


def with_heads(batches: Iterable[Pairs], landmarker: Landmarker, lost: list[str]) -> Iterator[tuple[Pairs, Shape]]:
    """The pairs in whose first picture a face is found, with the head model fitted to its landmarks.

    The keys of the others go to ``lost``.
    """
    guess = HeadGuesses({FIT: FITS[FIT]})
    whole = np.array([0.0, 0.0, FACE_LOOK_PX])
    for pairs in batches:
        faces = [face_of(landmarker, rgb) for rgb in pairs.old_B3SS]
        lost += [key for key, face in zip(pairs.key, faces, strict=True) if face is None]
        kept = [i for i, face in enumerate(faces) if face is not None]
        if kept:
            size = pairs.old_B3SS.shape[-1]
            found = [guess(face, FACE_LOOK_PX, FACE_LOOK_PX, whole, size) for face in faces if face is not None]
            depth_mm = torch.from_numpy(np.stack([maps[FIT] for maps, _, _ in found]))[:, None]
            camera = torch.from_numpy(np.stack([camera for _, camera, _ in found])).float()
            yield pairs.select(kept), shape_of(depth_mm, camera)
