"""Heads as rough as those that are fitted to one picture's landmarks: what one-step depth from such a head trains on.

A fit errs as a head model errs: the nose or jaw is somebody else's, and the head leans a little too far. So the head is
the posed mean head, which shards carry where they were made with ``--mean-head``, brought some part of the way to the
true depth of the skin, and tilted. So training finds no landmarks and fits no heads. What else was tried stands in
docs/fitted_depth.md.

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from jdap import depth as depth_frames
from jdap.blur import gaussian_blur
from jdap.pipelines.fitted import FACE_PIXELS, OF_PX

#: What is left of the mean head's error: uniform between these shares.
LEFT_LEAST, LEFT_MOST = 0.0, 0.7
#: Standard deviations of the tilt, as a share of the face's relief over the picture's side: up, and across.
TILT_UP, TILT_ACROSS = 0.15, 0.08
#: Pixels of 128: so far the skin's true depth is smoothed, and so wide is its edge to what the mean head says alone.
SMOOTHED_PX, EDGE_PX = 1.5, 3.0


def rough_heads(
    depth_mm_B1SS: Tensor, mean_head_mm_B1SS: Tensor, skin_B1SS: Tensor, generators: Sequence[Generator]
) -> Tensor:
    """True depth, the posed mean head's (both 0 = none) and skin → normalised depth of rough heads
    (:func:`jdap.depth.of_head`). Each generator draws for one picture."""
    side = depth_mm_B1SS.shape[-1]
    face = skin_B1SS & (depth_mm_B1SS > 0) & (mean_head_mm_B1SS > 0)
    known = face.float()
    smooth, weight = (gaussian_blur(x, SMOOTHED_PX * side / OF_PX) for x in (depth_mm_B1SS * known, known))
    truth = smooth / weight.clamp_min(1e-3)
    inside = ((gaussian_blur(known, EDGE_PX * side / OF_PX) - 0.3) / 0.5).clamp(0, 1) * known
    rough = mean_head_mm_B1SS.clone()
    at = torch.linspace(-0.5, 0.5, side)
    for i, generator in enumerate(generators):
        share = float(torch.rand((), generator=generator))
        up, across = torch.randn(2, generator=generator).tolist()
        if int(face[i].sum()) < FACE_PIXELS:
            rough[i] = 0
            continue
        left = LEFT_LEAST + share * (LEFT_MOST - LEFT_LEAST)
        near, far = depth_frames.skin_range_mm(depth_mm_B1SS[i : i + 1], face[i : i + 1])[0]
        tilt = (far - near).cpu() * (TILT_UP * up * at[:, None] + TILT_ACROSS * across * at[None])
        made = rough[i] + (1 - left) * inside[i] * (truth[i] - rough[i]) + tilt.to(rough)
        rough[i] = torch.where(mean_head_mm_B1SS[i] > 0, made.clamp_min(1.0), rough[i])
    return depth_frames.of_head(rough)
