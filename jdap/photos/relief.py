"""A head of a photo as a shape in millimetres, ready to be written.

Shapes: S x S pixels of the mesh's grid, H x W of its texture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import label
from torch import Tensor

from jdap.faces.crop import crop_frame
from jdap.photos.read import Photo
from jdap.shape.assumed import RELIEF_MM, WINDOW_MM, assumed_camera, assumed_range_mm, in_mm
from jdap.shape.mesh import Mesh, mesh_of

#: Depth from here on is left out: drawn backgrounds are not quite at the end of the range.
RELIEF_FARTHEST = 0.9
#: The longer side of a texture at most.
TEXTURE_PX = 1024


@dataclass(frozen=True, eq=False)
class Relief:
    """``depth_mm_11SS``, 0 = background; its ``camera_px_13``; ``texture_HW3`` uint8, the same square of the photo."""

    depth_mm_11SS: Tensor
    camera_px_13: Tensor
    texture_HW3: np.ndarray

    def mesh(self) -> Mesh:
        """Its mesh, cut where depth jumps."""
        size = self.depth_mm_11SS.shape[-1]
        picture = Image.fromarray(self.texture_HW3).resize((size, size), Image.Resampling.BICUBIC)
        return mesh_of(self.depth_mm_11SS, self.camera_px_13, np.asarray(picture))


def relief_of(
    depth_SS: np.ndarray, window_px: np.ndarray, photo: Photo, size: int, relief_mm: float = RELIEF_MM
) -> Relief:
    """The largest connected part of a head's normalised depth, on a grid of ``size`` pixels a side.

    Transparent pixels of the photo are background. ``relief_mm``: the depth range of the face, which a photo does not
    tell.
    """
    image = Image.fromarray(depth_SS.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    depth = torch.from_numpy(np.asarray(image).clip(-1, 1).copy())[None, None]
    near, far = assumed_range_mm()
    middle = (near + far) / 2
    depth_mm = in_mm(depth, (middle - relief_mm / 2, middle + relief_mm / 2), RELIEF_FARTHEST)
    if photo.empty_HW is not None:
        empty = np.repeat(photo.empty_HW[..., None].astype(np.uint8) * 255, 3, 2)
        depth_mm[0, 0][torch.from_numpy(crop_frame(empty, window_px, size)[..., 0] > 127)] = 0
    parts, count = label(depth_mm[0, 0].numpy() > 0)
    if count > 1:
        largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
        depth_mm[0, 0][torch.from_numpy(parts != largest)] = 0
    texture = crop_frame(photo.rgb_HW3, window_px, min(TEXTURE_PX, max(size, round(float(window_px[2])))))
    return Relief(depth_mm, assumed_camera(size)[None], texture)


def meaning(relief: Relief, relief_mm: float) -> dict[str, object]:
    """What the numbers mean, for metadata."""
    f, cx, cy = (round(x, 3) for x in relief.camera_px_13[0].tolist())
    return {
        "units": "millimetres; metres in GLB",
        "axes": "x right, y up, z towards the viewer, who is at the origin",
        "camera_px": {"f": f, "cx": cx, "cy": cy, "size": relief.depth_mm_11SS.shape[-1]},
        "relief_mm": relief_mm,
        "window_mm": WINDOW_MM,
        "assumed": "lens, distance, and how deep the face is: a single photo does not tell them",
    }
