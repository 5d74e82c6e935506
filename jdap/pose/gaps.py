"""Where a photo shows what lies between lips and between lids, by landmarks.

A fitted head's lips reach a little over the teeth of the photo. Where they go, those bits of teeth would go with them;
and where lips meet, what is drawn between what was above and what was below would be teeth. So a mouth that shuts would
still show a row of them; skin is taken from beside these gaps.

Shapes: S x S pixels of a grid, H x W of what is drawn, N corners of a polygon.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt
from torch import Tensor

#: mediapipe's landmarks along the lips' inner edge, and along the lids of each eye.
GAPS = (
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
#: Skin that moves by as many pixels of 512 is taken from beside a gap; what stands still is the photo's own.
OUT_OF_GAP_PX = 2.0
#: Half of a pixel on the edge is still what lies in the gap: so far beside it skin begins, in pixels of 512.
GAP_EDGE_PX = 1.5


def gaps_of(landmarks_px_N2: np.ndarray) -> tuple[np.ndarray, ...]:
    """The polygons (N, 2) of :data:`GAPS`, in pixels of the picture the landmarks are of."""
    return tuple(landmarks_px_N2[list(ring), :2].astype(np.float64) for ring in GAPS)


def way_out(gaps_px: Sequence[np.ndarray], size: int) -> Tensor:
    """(2, S, S): from each pixel in a gap the way (x, y, pixels) to the nearest that is beside it; 0 elsewhere."""
    found = torch.zeros(2, size, size)
    for gap in gaps_px:
        image = Image.new("1", (size, size))
        # Pillow's pixels have their middle at whole numbers.
        ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in gap - 0.5], fill=1)
        inside = np.array(image)
        if not inside.any():
            continue
        near = distance_transform_edt(~inside) <= GAP_EDGE_PX * size / 512
        row, column = distance_transform_edt(near, return_distances=False, return_indices=True)
        y, x = np.indices((size, size))
        found += torch.from_numpy(np.stack([column - x, row - y])).float()
    return found


def beside(from_2HW: Tensor, way_2HW: Tensor, inner_HW: Tensor, px: float) -> Tensor:
    """(2, H, W): where each pixel of skin was, less where it is (x, y, pixels), out of the gaps.

    Args:
        from_2HW: the same without regard to gaps: also between a lip and the other, across the teeth.
        way_2HW: :func:`way_out` of where the pixel was, in the same pixels.
        inner_HW: how much of each pixel shows what lies between lips or lids, in [0, 1]: that much stays.
        px: the pixels of one of a picture of 512.
    """
    moves = (from_2HW.square().sum(0).sqrt() / (OUT_OF_GAP_PX * px)).clamp_max(1)
    return from_2HW + way_2HW * (moves * (1 - inner_HW))
