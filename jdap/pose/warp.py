"""A photo drawn by its motion: its own texture where it has it, hidden skin by the other half of the face where that is
seen, and paint where a mouth or an eye opens.

Shapes: H x W pixels of the photo, S x S of the motion's grid.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from jdap.faces.crop import crop_frame
from jdap.pose.gaps import beside
from jdap.pose.heads import Heads
from jdap.pose.motion import Motion, grown

#: What the photo does not show of mouths and eyes: linear RGB beside skin of middle luminance.
PAINTS = {
    "teeth": (0.52, 0.47, 0.38),
    "gums_tongue": (0.30, 0.10, 0.09),
    "mouth_socket": (0.10, 0.03, 0.03),
    "eye_socket": (0.20, 0.10, 0.08),
    "sclera": (0.50, 0.47, 0.44),
    "iris": (0.05, 0.04, 0.03),
}
SKIN_LUMINANCE = 0.32
LUMINANCE_WEIGHTS = (0.2126, 0.7152, 0.0722)
#: Light in a mouth falls to 1 / e over so many mm behind the lips.
FALLS_MM = 14.0
#: Edges of what is painted are as soft as this, in pixels of a grid of 512.
SOFT_PX = 1.2
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
    (inside, cover), (other, share) = _inside(crop, heads, motion), _other_half(crop, motion)
    scale = side / motion.size
    layers = [motion.from_2SS * scale, cover[None], share[None], inside, other, motion.inner_SS[None]]
    at = F.grid_sample(torch.cat(layers)[None], where, mode="bilinear", padding_mode="border", align_corners=False)[0]
    was = where + (at[:2] * 2 / side).permute(1, 2, 0)
    way = F.grid_sample(motion.way_2SS[None] * scale, was, mode="nearest", padding_mode="border", align_corners=False)
    dx, dy = beside(at[:2], way[0], at[10], side / 512)
    source = torch.stack([(x + dx) / width * 2 - 1, (y + dy) / height * 2 - 1], -1)[None]
    picture = torch.from_numpy(rgb_HW3).permute(2, 0, 1)[None].float() / 255
    moved = F.grid_sample(picture, source, mode="bicubic", padding_mode="border", align_corners=False)[0].clamp(0, 1)
    mixed = torch.lerp(torch.lerp(moved, at[7:10], at[3]), at[4:7], at[2])
    still = (at[:2].abs().amax(0) < 1e-3) & (at[2:4].amax(0) < 1e-3)
    made = rgb_HW3.copy()
    part = (mixed.permute(1, 2, 0) * 255).round().byte().numpy()
    made[y0:y1, x0:x1] = np.where(still[..., None].numpy(), made[y0:y1, x0:x1], part)
    return made


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


def _inside(crop_3SS: Tensor, heads: Heads, motion: Motion) -> tuple[Tensor, Tensor]:
    """Mouths and eyes where the photo does not show them: sRGB (3, S, S) in [0, 1], and how far it covers (S, S)."""
    if not bool(motion.inside_SS.any()):
        return torch.zeros_like(crop_3SS), torch.zeros(motion.size, motion.size)
    skin = (motion.old_depth_SS > 0) & motion.head_SS
    luminance = (crop_3SS[:, skin].T ** 2.2 @ torch.tensor(LUMINANCE_WEIGHTS)).median()
    colour_T3 = torch.zeros(len(heads.model.faces_T3), 3)
    for name, paint in PAINTS.items():
        colour_T3[heads.model.part(name)] = torch.tensor(paint)
    soft_px = SOFT_PX * motion.size / 512
    box = _box(motion.inside_SS, _fades(soft_px))
    mask, part, depth_mm = motion.inside_SS[box], motion.part_SS[box].clamp_min(0), motion.depth_SS[box]
    mouth = mask & heads.mouth_T[part]
    shade = 0.5 + 0.5 * motion.facing_SS[box]
    if bool(mouth.any()):
        lips = depth_mm[mouth].quantile(0.05)
        shade = torch.where(mouth, shade * torch.exp(-(depth_mm - lips).clamp_min(0) / FALLS_MM), shade)
    linear = (colour_T3[part].permute(2, 0, 1) * shade * luminance / SKIN_LUMINANCE).clamp(0, 1)
    return _placed(_soft(linear ** (1 / 2.2), mask, soft_px), box, motion.size)


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
