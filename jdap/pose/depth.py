"""The depth of the head that is fitted to a photo, which weights with face layers better.

Shapes: S x S pixels of a window.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from jdap import depth as depth_frames
from jdap.photos.read import Photo
from jdap.pipelines.fitted import FittedDepth
from jdap.pose.change import PoseError
from jdap.pose.heads import FittedHead, Heads
from jdap.pose.photo import MOTION_SIDE_PX, fit_photo
from jdap.shape.rasterise import rasterise


def head_in_photo(heads: Heads, photo: Photo, window_px: np.ndarray, size: int) -> FittedDepth | None:
    """The head fitted to a window of a photo, drawn at ``size`` S. None where no face is found."""
    try:
        return draw_head(heads, fit_photo(heads, photo, window_px, corrected=False), size)
    except PoseError:
        return None


def head_in_picture(heads: Heads, rgb_3SS: torch.Tensor) -> FittedDepth:
    """The same of a small picture by itself, (3, S, S) in [-1, 1]; without a face it has none."""
    size = rgb_3SS.shape[-1]
    large = F.interpolate(rgb_3SS[None], (MOTION_SIDE_PX, MOTION_SIDE_PX), mode="bicubic").clamp(-1, 1)[0]
    pixels = ((large + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()
    try:
        return draw_head(heads, heads.fit(pixels, corrected=False), size)
    except PoseError:
        return FittedDepth(torch.full((1, 1, size, size), depth_frames.NO_DEPTH), torch.zeros(1, 1, size, size) > 0)


def draw_head(heads: Heads, head: FittedHead, size: int) -> FittedDepth:
    """A fitted head in its picture, at another size."""
    camera = head.camera_px_3[None] * (size / head.size)
    seen = rasterise(heads.vertices(head)[None], heads.model.faces_T3, camera, size, size)
    face = seen.mask & heads.face_T[seen.face.clamp_min(0)]
    return FittedDepth(depth_frames.of_head(seen.depth_mm[:, None]), face[:, None])
