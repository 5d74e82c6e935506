"""Masks of what is known in a picture: on the way into the codec, and on the way back.

Shapes: B pictures, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def known_cells(known_B1HW: Tensor, factor: int) -> Tensor:
    """The latent cells all of whose pixels are known: (B, 1, H, W) bool → (B, 1, H / factor, W / factor) bool."""
    return F.max_pool2d((~known_B1HW).float(), factor) == 0


def fill_unknown(picture_BCHW: Tensor, known_B1HW: Tensor) -> Tensor:
    """Each unknown pixel takes the value of the nearest known one; a picture of which nothing is known becomes 0.

    A codec's cell looks at its neighbours' pixels: what lies under a mask, which may be anything, must not show in
    known cells, and an edge along the mask would cost them quality.
    """
    filled = picture_BCHW.clone()
    for picture_CHW, known_HW in zip(filled, known_B1HW[:, 0], strict=True):
        known = known_HW.cpu().numpy()
        if not known.any():
            picture_CHW.zero_()
        elif not known.all():
            v, u = distance_transform_edt(~known, return_distances=False, return_indices=True)
            v_HW, u_HW = (torch.as_tensor(i, dtype=torch.long, device=picture_CHW.device) for i in (v, u))
            picture_CHW.copy_(picture_CHW[:, v_HW, u_HW])
    return filled


def paste_known(drawn_BCHW: Tensor, picture_BCHW: Tensor, known_B1HW: Tensor, feather_px: float = 0.0) -> Tensor:
    """The sampled pictures with the known pixels put back.

    Exactly, with ``feather_px`` 0. Above, known pixels fade into the sampled ones: a known pixel d pixels from the
    nearest unknown one has the weight min(1, d / (feather_px + 1)), so those within ``feather_px`` of the mask's edge
    are blends and no longer exact. A picture that is known whole comes back as it is.
    """
    if feather_px < 0:
        raise ValueError(f"a feather must be 0 pixels or more, got {feather_px}")
    if feather_px == 0:
        return torch.where(known_B1HW, picture_BCHW, drawn_BCHW)
    weight = torch.stack([_fade(known, feather_px) for known in known_B1HW[:, 0]])[:, None].to(drawn_BCHW)
    blend = torch.lerp(drawn_BCHW, picture_BCHW, weight)
    return torch.where(weight == 1, picture_BCHW, torch.where(weight == 0, drawn_BCHW, blend))


def _fade(known_HW: Tensor, feather_px: float) -> Tensor:
    known = known_HW.cpu().numpy()
    if known.all():
        return torch.ones(known.shape)
    distance = distance_transform_edt(known)
    return torch.from_numpy(np.minimum(distance / (feather_px + 1), 1)).float()
