"""The depth of the head that is fitted to a photo, which weights that better it start from.

Shapes: S x S pixels of a window.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from jdap import depth as depth_frames
from jdap.photos.read import Photo
from jdap.pose.change import PoseError
from jdap.pose.heads import FittedHead, Heads
from jdap.pose.photo import MOTION_SIDE_PX, fit_photo
from jdap.shape.rasterise import rasterise


def head_in_photo(heads: Heads, photo: Photo, window_px: np.ndarray, size: int) -> torch.Tensor | None:
    """Normalised depth (1, 1, S, S) of the head fitted to a window of a photo (:func:`jdap.depth.of_head`).

    ``size`` is S. None where no face is found.
    """
    try:
        return draw_head(heads, fit_photo(heads, photo, window_px, corrected=False), size)
    except PoseError:
        return None


def head_in_picture(heads: Heads, rgb_3SS: torch.Tensor) -> torch.Tensor:
    """The same of a small picture by itself, (3, S, S) in [-1, 1]; without a face it is that of no head."""
    size = rgb_3SS.shape[-1]
    large = F.interpolate(rgb_3SS[None], (MOTION_SIDE_PX, MOTION_SIDE_PX), mode="bicubic").clamp(-1, 1)[0]
    pixels = ((large + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()
    try:
        return draw_head(heads, heads.fit(pixels, corrected=False), size)
    except PoseError:
        return torch.full((1, 1, size, size), depth_frames.NO_DEPTH)


def draw_head(heads: Heads, head: FittedHead, size: int) -> torch.Tensor:
    """Normalised depth (1, 1, size, size) of a fitted head in its picture, at another size."""
    camera = head.camera_px_3[None] * (size / head.size)
    seen = rasterise(heads.vertices(head)[None], heads.model.faces_T3, camera, size, size)
    return depth_frames.of_head(seen.depth_mm[:, None])
