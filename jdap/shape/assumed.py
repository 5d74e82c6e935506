"""Where a head is, in millimetres, that only normalised depth is known of.

Depth from a picture is known up to scale and shift. A crop of a head is cut by its size, so how wide it is in
millimetres is about known; so is how deep a face is; and a lens is assumed. Angles and lengths then are about right.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jdap.depth import denormalise

#: A crop of a head is about this wide at the face, and seen under this angle.
WINDOW_MM, FIELD_DEG = 330.0, 28.0
#: The depth range of a face's skin, between its 2 % and 98 % quantiles.
RELIEF_MM = 95.0
#: Depth from here on is the end of the range: background, or what lies behind the face.
FARTHEST = 0.97
#: How surely a pixel is the person's falls from 1 to 0 over this part of the range.
FADE = (0.8, 0.98)


def assumed_camera(width: int) -> Tensor:
    """(3,) focal length and principal point of a square crop of so many pixels."""
    return torch.tensor([width / 2 / math.tan(math.radians(FIELD_DEG) / 2), width / 2, width / 2])


def assumed_range_mm() -> tuple[float, float]:
    """Where the skin's depth range lies before that camera."""
    middle = WINDOW_MM / 2 / math.tan(math.radians(FIELD_DEG) / 2)
    return middle - RELIEF_MM / 2, middle + RELIEF_MM / 2


def foreground(depth_B1HW: Tensor, fade: tuple[float, float] = FADE) -> Tensor:
    """How surely each pixel of normalised depth is the person's, by a fade of depth: (B, 1, H, W) in [0, 1]."""
    return ((fade[1] - depth_B1HW) / (fade[1] - fade[0])).clamp(0, 1)


def in_mm(depth_B1HW: Tensor, range_mm: tuple[float, float] | None = None, farthest: float | None = None) -> Tensor:
    """Normalised depth (B, 1, H, W) in [-1, 1] → millimetres, 0 = no value: where the range ends.

    ``range_mm``: what -1 and +1 are, if it is known; ``farthest``: from where on there is no value (default
    :data:`FARTHEST`).
    """
    farthest = FARTHEST if farthest is None else farthest
    near_far = depth_B1HW.new_tensor(range_mm or assumed_range_mm()).expand(len(depth_B1HW), 2)
    return torch.where(depth_B1HW < farthest, denormalise(depth_B1HW, near_far), torch.zeros_like(depth_B1HW))
