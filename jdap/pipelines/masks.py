"""Masks of what is known in a picture: on the way into the codec, and on the way back.

Shapes: B pictures, H x W pixels, h x w latent cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from jdap.pipelines.pictures import Pictures, check_square, listed, pictures_of, sized


def known_parts(given: Pictures, known: Pictures, what: str, channels: int, size_px: int) -> tuple[Tensor, Tensor]:
    """Pictures that are known in part, as :mod:`jdap.pipelines.pictures` has them, and where: (B, 1, H, W) bool.

    Masks are lighter than middle grey, true or above 0.5 where something is known. Before a picture is brought to
    another size what is unknown is filled from its edge, or it would be mixed into what is known; a pixel is then
    known if all that it covers is. Raises ValueError where masks do not fit the pictures.
    """
    pictures = pictures_of(given, what, channels)
    if isinstance(known, Tensor):
        side = tuple(given.shape[-2:]) if isinstance(given, Tensor) else tuple(known.shape[-2:])
        expected = (len(pictures), 1, *side)
        if known.dtype != torch.bool or known.shape != expected:
            raise ValueError(f"known_{what} must be {expected} bool, got {tuple(known.shape)} {known.dtype}")
    masks = [_mask(one, f"known_{what}") for one in listed(known, 1)]
    if len(masks) != len(pictures):
        raise ValueError(f"known_{what}: {len(masks)} masks for {len(pictures)} pictures: give one for each")
    made, where = [], []
    for picture, mask in zip(pictures, masks, strict=True):
        check_square(picture, what)
        check_square(mask, f"known_{what}")
        own = (int(picture.shape[-2]), int(picture.shape[-1]))
        filled = fill_unknown(picture[None], _known_at(mask, own).to(picture.device))[0]
        aim = own if isinstance(given, Tensor) else (size_px, size_px)
        made.append(filled if aim == own else sized(filled, what, size_px))
        where.append(_known_at(mask, aim)[0])
    return torch.stack(made), torch.stack(where).to(made[0].device)


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


def _known_at(mask_1HW: Tensor, side: tuple[int, int]) -> Tensor:
    """(1, 1, *side) bool: a pixel is known if all is that it covers."""
    return F.interpolate(mask_1HW[None].float(), side, mode="area") > 1 - 1e-6


def _mask(given: Any, what: str) -> Tensor:
    """One mask as (1, H, W) bool."""
    if isinstance(given, Tensor):
        return given
    if isinstance(given, Image.Image):
        values, white = np.array(given), 65535 if given.mode.startswith("I") else 255
        if values.ndim == 3 or given.mode == "P":
            values = np.array(given.convert("L"))
        return torch.from_numpy(values.astype(np.float32) > (0.5 if given.mode in ("1", "F") else white / 2))[None]
    values = np.asarray(given)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise ValueError(f"{what} must be (H, W) or (H, W, 1), got {values.shape}")
    white = 255 if values.dtype == np.uint8 and values.max(initial=0) > 1 else 1
    return torch.from_numpy(values.astype(np.float32) > white / 2)[None]
