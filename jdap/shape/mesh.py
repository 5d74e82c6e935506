"""A depth map as a triangle mesh: a vertex for each pixel that has depth, cut where depth jumps.

Meshes are in the axes of glTF: x right, y up, z towards the viewer, who sits at the origin; millimetres.

Shapes: H x W pixels, V vertices, T triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jdap.geometry import unproject
from jdap.shape.normals import edge_normals, is_joined

#: Camera axes (y down, z forward) to those of glTF.
TO_VIEWER = (1.0, -1.0, -1.0)


class ShapeError(ValueError):
    """A depth map of which no mesh can be made; the message says why."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """* ``vertices_mm_V3`` float32; ``faces_T3`` int64, counter-clockwise seen from the viewer
    * ``uv_V2`` float32: where each vertex lies in the picture, (0, 0) at the bottom left, as glTF's textures in OBJ
    * ``rgb_V3`` uint8 sRGB; ``normals_V3`` float32 unit vectors"""

    vertices_mm_V3: np.ndarray
    faces_T3: np.ndarray
    uv_V2: np.ndarray
    rgb_V3: np.ndarray
    normals_V3: np.ndarray


def mesh_of(depth_mm_11HW: Tensor, camera_px_13: Tensor, rgb_HW3: np.ndarray) -> Mesh:
    """The mesh of a depth map (0 = no value) before its camera, with the colours of a picture of the same pixels.

    Each square of four pixels that are one surface becomes two triangles, split along the flatter diagonal; three of
    them become one. Neighbours across a jump are not joined (:func:`jdap.shape.normals.is_joined`). Pixels that are
    joined to nothing are left out. Raises :class:`ShapeError` where no triangle is left.
    """
    across = is_joined(depth_mm_11HW, camera_px_13, 3)[0, 0].cpu().numpy()
    down = is_joined(depth_mm_11HW, camera_px_13, 2)[0, 0].cpu().numpy()
    z = depth_mm_11HW[0, 0].cpu().numpy()
    faces = _triangles(z, across, down)
    if not len(faces):
        raise ShapeError("no depth to make a mesh of: no three neighbouring pixels are one surface")
    used = np.unique(faces)
    index = np.zeros(z.size, np.int64)
    index[used] = np.arange(len(used))
    points = unproject(depth_mm_11HW, camera_px_13)[0].cpu().flatten(1).T.numpy() * np.array(TO_VIEWER, np.float32)
    normals = edge_normals(depth_mm_11HW, camera_px_13)[0].cpu().flatten(1).T.numpy() * np.array(TO_VIEWER, np.float32)
    height, width = z.shape
    v, u = np.divmod(used, width)
    uv = np.stack([(u + 0.5) / width, 1 - (v + 0.5) / height], 1)
    return Mesh(
        points[used].astype(np.float32),
        index[faces],
        uv.astype(np.float32),
        rgb_HW3.reshape(-1, 3)[used],
        normals[used].astype(np.float32),
    )


def _triangles(z_HW: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(T, 3) pixels, counter-clockwise to the viewer once y points up."""
    height, width = z_HW.shape
    number = np.arange(height * width).reshape(height, width)
    # The corners of each square, and which of its four sides are one surface.
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    top, bottom, left, right = across[:-1], across[1:], down[:, :-1], down[:, 1:]
    whole = top & bottom & left & right
    flatter = np.abs(z_HW[:-1, :-1] - z_HW[1:, 1:]) <= np.abs(z_HW[:-1, 1:] - z_HW[1:, :-1])
    one, other = whole & flatter, whole & ~flatter
    corners = [
        ((a, c, d), one),
        ((a, d, b), one),
        ((a, c, b), other | (top & left & ~whole)),
        ((b, c, d), other | (bottom & right & ~whole)),
        ((a, c, d), left & bottom & ~whole & ~(top & left) & ~(bottom & right)),
        ((a, d, b), top & right & ~whole & ~(top & left) & ~(bottom & right)),
    ]
    return np.concatenate([np.stack([p[where] for p in points], 1) for points, where in corners])


def normal_picture(normals_B3HW: Tensor) -> Tensor:
    """Camera-space normals (B, 3, H, W) → a normal map (B, 3, H, W) in [-1, 1], as OpenGL has it: red right, green up,
    blue towards the viewer; nothing is (0, 0, 0), the middle grey."""
    return normals_B3HW * torch.tensor(TO_VIEWER, device=normals_B3HW.device)[:, None, None]
