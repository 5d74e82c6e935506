"""A photo drawn by its motion: its own texture where it has it, hidden skin by the other half of the face where that is
seen, and paint where a mouth or an eye opens.

Shapes: H x W pixels of the photo, S x S of the motion's grid.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from jdap.faces.crop import crop_frame
from jdap.pose.heads import Heads
from jdap.pose.inside import beside, painted, reach
from jdap.pose.motion import Motion, grown

#: Of the skin's sRGB: where lips and lids meet.
MEETING_SRGB = torch.tensor([0.42, 0.26, 0.24])[:, None, None]
#: Mirrored skin fades over this, and its colour is compared with that of skin so far beside it (a share of the side).
SEAM_PX, SEAM = 4.0, 0.03


def drawn(rgb_HW3: np.ndarray, window_px: np.ndarray, heads: Heads, motion: Motion) -> np.ndarray:
    """The picture (H, W, 3) uint8 with the head in its window (left, top, size) moved.

    Pixels that do not move and are not painted are the picture's own to the bit.
    """
    left, top, side = (float(x) for x in window_px)
    height, width = rgb_HW3.shape[:2]
    x0, x1 = max(0, int(np.ceil(left))), min(width, int(np.floor(left + side)))
    y0, y1 = max(0, int(np.ceil(top))), min(height, int(np.floor(top + side)))
    y, x = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    where = torch.stack([(x - left) / side * 2 - 1, (y - top) / side * 2 - 1], -1)[None]
    crop = torch.from_numpy(crop_frame(rgb_HW3, window_px, motion.size).copy()).permute(2, 0, 1).float() / 255
    other, share = _other_half(crop, motion)
    scale = side / motion.size
    layers = [motion.from_2SS * scale, share[None], other, painted(crop, heads, motion)]
    at = F.grid_sample(torch.cat(layers)[None], where, mode="bilinear", padding_mode="border", align_corners=False)[0]
    picture = torch.from_numpy(rgb_HW3).permute(2, 0, 1)[None].float() / 255
    way, other, share, paint = at[:2], at[3:6], at[2], at[6:]
    mixed = torch.lerp(_taken(picture, torch.stack([x, y]) + way), other, share)
    still = (way.abs().amax(0) < 1e-3) & (share < 1e-3)
    mixed = torch.where(still, picture[0, :, y0:y1, x0:x1], mixed)
    dark = MEETING_SRGB * crop[:, motion.head_SS].median(1).values[:, None, None]
    for gap in (moved.scaled(scale, np.array([left, top])) for moved in motion.gaps if not moved.still):
        box = _part(reach(gap, side / 512), (x0, y0, x1, y1))
        place = torch.stack([x[box], y[box]])
        near = beside(gap, place[0].double().numpy(), place[1].double().numpy(), side / 512)
        over, under = (
            torch.lerp(_taken(picture, place + torch.lerp(way[:, *box], moves, sure)), other[:, *box], share[box])
            for moves, sure in near.skins
        )
        painted_in, photo_in = (
            torch.lerp(dark, seen, light)
            for seen, light in (
                (paint[:, *box], near.paint_open_HW),
                (_taken(picture, place + near.inner_2HW), near.photo_open_HW),
            )
        )
        skin = torch.lerp(under, over, near.over_HW)
        mixed[:, *box] = torch.lerp(skin, torch.lerp(painted_in, photo_in, near.seen_HW), near.cover_HW)
    made = rgb_HW3.copy()
    made[y0:y1, x0:x1] = (mixed.permute(1, 2, 0) * 255).round().byte().numpy()
    return made


def _taken(picture_13HW: Tensor, place_2hw: Tensor) -> Tensor:
    """(3, h, w) in [0, 1]: a picture at places (x, y) in its pixels."""
    sides = torch.tensor(picture_13HW.shape[-2:]).flip(0)
    grid = (place_2hw.permute(1, 2, 0) / sides * 2 - 1)[None]
    return F.grid_sample(picture_13HW, grid, mode="bicubic", padding_mode="border", align_corners=False)[0].clamp(0, 1)


def _part(reach_px: tuple[float, float, float, float], frame: tuple[int, int, int, int]) -> tuple[slice, slice]:
    """Rows and columns of a frame (x and y from and to, pixels) that something reaches over."""
    x0, y0, x1, y1 = frame
    (left, right), (top, bottom) = (
        np.clip([math.floor(low), math.ceil(high)], least, most) - least
        for low, high, least, most in ((reach_px[0], reach_px[2], x0, x1), (reach_px[1], reach_px[3], y0, y1))
    )
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _other_half(crop_3SS: Tensor, motion: Motion) -> tuple[Tensor, Tensor]:
    """Hidden skin as the other half of the face shows it: sRGB (3, S, S), and how far it covers (S, S).

    Its colour is brought to that of the skin beside it: the two halves are lit differently.
    """
    if not bool(motion.mirrored_SS.any()):
        return torch.zeros_like(crop_3SS), torch.zeros(motion.size, motion.size)
    size = motion.size
    reach, soft_px = max(1, round(SEAM * size)), SEAM_PX * size / 512
    box = _box(motion.mirrored_SS, max(reach, _fades(soft_px)))
    mask = motion.mirrored_SS[box]
    seen = _sampled(crop_3SS, motion.mirror_2SS[:, *box])
    y, x = torch.meshgrid(*[torch.arange(size) + 0.5] * 2, indexing="ij")
    moved = _sampled(crop_3SS, motion.from_2SS[:, *box] + torch.stack([x[box], y[box]]))
    own = (motion.depth_SS > 0) & motion.head_SS & ~motion.stretched_SS & ~motion.inside_SS
    beside = grown(mask, reach) & own[box]
    if bool(beside.any()):
        edge = mask & grown(beside, reach)
        edge = edge if bool(edge.any()) else mask
        gain = moved[:, beside].median(1).values / seen[:, edge].median(1).values.clamp_min(1e-3)
        seen = (seen * gain.clamp(0.6, 1.6)[:, None, None]).clamp(0, 1)
    return _placed(_soft(seen, mask, soft_px), box, size)


def _sampled(picture_3SS: Tensor, at_2SS: Tensor) -> Tensor:
    grid = (at_2SS / picture_3SS.shape[-1] * 2 - 1).permute(1, 2, 0)[None]
    return F.grid_sample(picture_3SS[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def _soft(colour_3SS: Tensor, mask_SS: Tensor, soft_px: float) -> tuple[Tensor, Tensor]:
    """Colour that reaches over the edge of its mask, and how far it covers there."""
    cover = gaussian_filter(mask_SS.numpy().astype(np.float32), soft_px)
    spread = np.stack([gaussian_filter(channel, soft_px) for channel in (colour_3SS * mask_SS).numpy()])
    beyond = torch.from_numpy(spread / np.maximum(cover, 1e-4)).clamp(0, 1)
    return torch.where(mask_SS, colour_3SS, beyond), torch.from_numpy(cover)


def _fades(soft_px: float) -> int:
    """Pixels over which a Gaussian ends (scipy's: four standard deviations)."""
    return int(4 * soft_px + 0.5)


def _box(mask_SS: Tensor, beyond: int) -> tuple[slice, slice]:
    """Rows and columns of a mask that is not empty, and so many pixels beyond."""
    ends = [mask_SS.any(axis).nonzero() for axis in (1, 0)]
    rows, columns = (slice(max(0, int(at[0]) - beyond), int(at[-1]) + 1 + beyond) for at in ends)
    return rows, columns


def _placed(made: tuple[Tensor, Tensor], box: tuple[slice, slice], size: int) -> tuple[Tensor, Tensor]:
    """Colour (3, S, S) and cover (S, S) of a box; 0 around it."""
    colour_3SS, cover_SS = torch.zeros(3, size, size), torch.zeros(size, size)
    colour_3SS[:, *box], cover_SS[box] = made
    return colour_3SS, cover_SS
