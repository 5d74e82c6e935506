"""A mask that follows the edges of a picture: the guided filter, on a picture made small.

He, Sun and Tang, "Guided image filtering", TPAMI 2013, and He and Sun, "Fast guided filter" (arXiv 1505.00996): in
every window the mask is taken to be linear in the picture's colours, with little slope where colours hardly differ.

Shapes: B pictures, S x S pixels, s x s of the small mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Half of a window over the picture's width, and how far colours (0 … 1) may differ within a surface, squared.
GUIDE_REACH, FLAT = 1 / 16, 1e-3


def follow_edges(mask_B1ss: Tensor, rgb_B3SS: Tensor) -> Tensor:
    """(B, 1, S, S) in [0, 1]: a mask in [0, 1] moved to the edges of pictures in [0, 1] that lie near its own."""
    side = mask_B1ss.shape[-1]
    small = F.interpolate(rgb_B3SS, (side, side), mode="bilinear", antialias=True)
    reach = max(1, round(side * GUIDE_REACH))
    colour, mask = _mean(small, reach), _mean(mask_B1ss, reach)
    # Of each window: how colours vary together, and how the mask varies with them.
    pairs = torch.einsum("bihw,bjhw->bijhw", small, small).flatten(1, 2)
    spread = _mean(pairs, reach).unflatten(1, (3, 3)) - torch.einsum("bihw,bjhw->bijhw", colour, colour)
    along = _mean(small * mask_B1ss, reach) - colour * mask
    steady = spread.permute(0, 3, 4, 1, 2) + FLAT * torch.eye(3, device=small.device)
    slope = torch.linalg.solve(steady, along.permute(0, 2, 3, 1)[..., None])[..., 0].permute(0, 3, 1, 2)
    level = mask - (slope * colour).sum(1, keepdim=True)
    lines = _mean(torch.cat([slope, level], 1), reach)
    if rgb_B3SS.shape[-1] != side:
        lines = F.interpolate(lines, rgb_B3SS.shape[-2:], mode="bilinear", align_corners=False)
    return ((lines[:, :3] * rgb_B3SS).sum(1, keepdim=True) + lines[:, 3:]).clamp(0, 1)


def _mean(x_BCss: Tensor, reach: int) -> Tensor:
    """The mean over a window of 2 · reach + 1 pixels, of those that lie in the picture."""
    return F.avg_pool2d(x_BCss, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
