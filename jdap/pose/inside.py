"""Mouths and eyes of a photo whose head has moved: skin up to the edges of lips and lids, and what lies between them.

Skin beside an edge goes with the edge, so that none of it comes from what lay between; lashes keep their length, and
the lid above them unfolds from the skin under the brow. Between the edges is what the photo shows there, where the head
has it now; the rest is paint.

Shapes: H x W pixels of what is drawn, around a gap; S x S pixels of the motion's grid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d
from torch import Tensor

from jdap.pose.edges import MovedGap
from jdap.pose.gaps import Gap
from jdap.pose.heads import Heads
from jdap.pose.motion import Motion

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
#: Light in a mouth falls to 1 / e over so many mm behind the teeth.
FALLS_MM = 14.0
#: Edges in what is painted are as soft as this, in pixels of a picture of 512.
SOFT_PX = 1.2
#: Over so many pixels of 512 skin beside an edge goes with it; lashes are so long, and an edge is so soft.
ALONG_PX, LASHES_PX, GAP_SOFT_PX = 10.0, 6.0, 1.6
#: Lips and lids shade what lies close behind them: a gap of fewer pixels of 512 is darker, and dark at a share of them.
SHADE_PX, MEETS = 9.0, 0.25
#: Lashes at the corners of an eye go down with those beside them, over so many points of a line.
CORNER = 4.0
#: How far from the lid to the brow skin unfolds.
UNFOLDS = 0.8


class BesideGap(NamedTuple):
    """Where pixels (H, W) lie beside a gap: ``across`` from its first corner along its axis, pixels; how far ``above``
    and ``below`` its edges, negative on the other side; ``beyond`` the nearer corner, 0 between them."""

    across: np.ndarray
    above: np.ndarray
    below: np.ndarray
    beyond: np.ndarray


class Beside(NamedTuple):
    """Of pixels (H, W) around a gap:

    * ``cover_HW``: how much of each shows what lies in it, [0, 1]; ``over_HW``: how much of the rest lies over it
    * ``skins``, of over and under it: how far from each pixel its skin was (2, H, W) (x, y, pixels), and how sure that
      is (H, W)
    * ``inner_2HW``: how far what lies in it was; ``seen_HW``: how far the photo showed that
    * ``paint_open_HW``, ``photo_open_HW``, of paint and photo: 1 in the open, less in the shade of lips and lids
    """

    cover_HW: Tensor
    over_HW: Tensor
    skins: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    inner_2HW: Tensor
    seen_HW: Tensor
    paint_open_HW: Tensor
    photo_open_HW: Tensor


def reach(gap: MovedGap, px: float) -> tuple[float, float, float, float]:
    """x and y from and to that a gap has to do with."""
    points = np.concatenate([*gap.was.lines, *gap.now.lines])
    beyond = 2 * ALONG_PX * px
    (x0, y0), (x1, y1) = points.min(0) - beyond, points.max(0) + beyond
    return x0, y0, x1, y1


def beside(gap: MovedGap, x_HW: np.ndarray, y_HW: np.ndarray, px: float) -> Beside:
    """What a moved gap makes of pixels; ``px`` is how many of them are one of a picture of 512."""
    was, now = gap.was, gap.now
    here, soft = placed(now, x_HW, y_HW), GAP_SOFT_PX * px
    over = np.clip(0.5 + (here.above - here.below) / (4 * soft), 0, 1)
    lip = now.over_K2 is None
    upper = _edge(gap, here, px, above=True) if lip else _lid(gap, here, px)
    at = np.stack([x_HW, y_HW])
    inner = np.tensordot(gap.inner_23[:, :2], at, 1) + gap.inner_23[:, 2, None, None] - at
    there = placed(was, *(at + inner))
    # Between lips that touch there is nothing but their line. A gap that stays as it is is the photo's own.
    apart = np.clip(_along(was, was.upper_K2, there.across, was.open_K) / (2 * soft) - 0.5, 0, 1)
    seen = np.clip(0.5 + apart - np.maximum(np.maximum(there.above, there.below), there.beyond) / soft, 0, 1)
    seen = 1 - (1 - seen) * _changes(gap, px)
    open_HW, was_open = (_along(now, now.upper_K2, here.across, of.open_K) for of in (now, was))
    # What was seen in a narrow gap was shaded there.
    narrow = SHADE_PX * px
    paint_open, photo_open = (
        np.clip((open_HW / np.maximum(full, 1e-3) - MEETS) / (1 - MEETS), 0, 1)
        for full in (narrow, np.minimum(np.where(open_HW < was_open, was_open, open_HW), narrow))
    )
    skins = upper, _edge(gap, here, px, above=False)
    shares = seen, paint_open, photo_open
    return Beside(_tensor(covered(here, soft)), _tensor(over), skins, _tensor(inner), *(_tensor(x) for x in shares))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float()


def placed(gap: Gap, x_HW: np.ndarray, y_HW: np.ndarray) -> BesideGap:
    """Where pixels are beside a gap."""
    start = (gap.upper_K2[0] + gap.lower_K2[0]) / 2
    across = (x_HW - start[0]) * gap.axis_2[0] + (y_HW - start[1]) * gap.axis_2[1]
    down = (x_HW - start[0]) * gap.down_2[0] + (y_HW - start[1]) * gap.down_2[1]
    upper, lower = (_along(gap, line, across, (line - start) @ gap.down_2) for line in (gap.upper_K2, gap.lower_K2))
    end = float(((gap.upper_K2[-1] + gap.lower_K2[-1]) / 2 - start) @ gap.axis_2)
    return BesideGap(across, upper - down, down - lower, np.maximum(np.maximum(-across, across - end), 0))


def covered(place: BesideGap, soft: float) -> np.ndarray:
    """How much of each pixel lies between the edges, [0, 1]; nothing where they meet."""
    above, below = (np.clip(0.5 - side / (2 * soft), 0, 1) for side in (place.above, place.below))
    return np.asarray(np.clip(above + below - 1, 0, 1))


def _edge(gap: MovedGap, here: BesideGap, px: float, *, above: bool) -> tuple[Tensor, Tensor]:
    """Where the skin beside an edge was: it goes with the edge. And how sure that is."""
    was, now = gap.was, gap.now
    line_K2, steps_K2 = (
        (now.upper_K2, was.upper_K2 - now.upper_K2) if above else (now.lower_K2, was.lower_K2 - now.lower_K2)
    )
    far = np.maximum(here.above if above else here.below, 0)
    # Half of a pixel on the edge is still what lay in the gap.
    short = np.maximum(GAP_SOFT_PX * px - far, 0) * _changes(gap, px) * (-1 if above else 1)
    went = np.stack([_along(now, line_K2, here.across, steps_K2[:, k]) for k in (0, 1)])
    sure = _smooth(1 - np.hypot(far, here.beyond) / (ALONG_PX * px))
    return _tensor(went + short * now.down_2[:, None, None]), _tensor(sure)


def _changes(gap: MovedGap, px: float) -> float:
    """0 for a gap whose edges keep their place beside what lies in it, 1 where they go far."""
    edges = zip((gap.was.upper_K2, gap.was.lower_K2), (gap.now.upper_K2, gap.now.lower_K2), strict=True)
    far = max(np.abs(now @ gap.inner_23[:, :2].T + gap.inner_23[:, 2] - was).max() for was, now in edges)
    return float(np.clip(far / (4 * px), 0, 1))


def _lid(gap: MovedGap, here: BesideGap, px: float) -> tuple[Tensor, Tensor]:
    """Where the skin over an eye was: lashes go with the lid, what is above unfolds up to the brow."""
    was, now = gap.was, gap.now
    assert was.over_K2 is not None
    assert now.over_K2 is not None
    still = np.stack([_along(now, now.over_K2, here.across, (was.over_K2 - now.over_K2)[:, k]) for k in (0, 1)])
    # What holds still is the same part of the way to the brow as it was in the photo.
    high = (
        np.maximum(((was.upper_K2 - was.over_K2) @ was.down_2) * UNFOLDS, 0)
        - ((was.upper_K2 - was.over_K2) - (now.upper_K2 - now.over_K2)) @ now.down_2
    )
    steps = was.upper_K2 - now.upper_K2
    near = gaussian_filter1d(steps, CORNER, axis=0, mode="nearest")
    steps = np.where((np.hypot(*near.T) > np.hypot(*steps.T))[:, None], near, steps)
    up_2HW = np.stack([_along(now, now.upper_K2, here.across, steps[:, k]) for k in (0, 1)])
    high_HW = np.maximum(_along(now, now.upper_K2, here.across, high), 2 * LASHES_PX * px)
    goes = np.clip((high_HW - here.above) / (high_HW - LASHES_PX * px), 0, 1)
    sure = _smooth(1 - (here.above - high_HW) / (ALONG_PX * px)) * _smooth(1 - here.beyond / (2 * ALONG_PX * px))
    return _tensor(still + (up_2HW - still) * goes), _tensor(sure)


def _along(gap: Gap, line_K2: np.ndarray, across_HW: np.ndarray, values_K: np.ndarray) -> np.ndarray:
    """Values at the points of a line, between them at pixels by how far these are along the gap."""
    at = np.maximum.accumulate((line_K2 - (gap.upper_K2[0] + gap.lower_K2[0]) / 2) @ gap.axis_2)
    return np.interp(across_HW, at + np.arange(len(at)) * 1e-9, values_K)


def _smooth(share: np.ndarray) -> np.ndarray:
    clipped = np.clip(share, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))


def painted(crop_3SS: Tensor, heads: Heads, motion: Motion) -> Tensor:
    """Mouths and eyes without the photo: sRGB (3, S, S) in [0, 1], beside them as at their edge."""
    if not bool(motion.inner_SS.any()):
        return torch.zeros_like(crop_3SS)
    skin = (motion.old_depth_SS > 0) & motion.head_SS
    weights = torch.tensor(LUMINANCE_WEIGHTS)
    luminance = (crop_3SS[:, skin].T ** 2.2 @ weights).median() / SKIN_LUMINANCE
    colour_T3 = torch.zeros(len(heads.model.faces_T3), 3)
    for name, paint in PAINTS.items():
        colour_T3[heads.model.part(name)] = torch.tensor(paint) * luminance
    if (teeth := _teeth(crop_3SS, motion.gaps[0].was)) is not None:
        colour_T3[heads.model.part("teeth")] = teeth
    mask, part = motion.inner_SS, motion.part_SS.clamp_min(0)
    mouth = mask & heads.mouth_T[part]
    shade = 0.5 + 0.5 * motion.facing_SS
    if bool(mouth.any()):
        front = motion.depth_SS[mouth].quantile(0.05)
        shade = torch.where(mouth, shade * torch.exp(-(motion.depth_SS - front).clamp_min(0) / FALLS_MM), shade)
    colour = ((colour_T3[part].permute(2, 0, 1) * shade).clamp(0, 1) ** (1 / 2.2)).numpy()
    row, column = distance_transform_edt(~mask.numpy(), return_distances=False, return_indices=True)
    soft_px = SOFT_PX * motion.size / 512
    return torch.from_numpy(np.stack([gaussian_filter(channel[row, column], soft_px) for channel in colour]))


def _teeth(crop_3SS: Tensor, was: Gap) -> Tensor | None:
    """Linear RGB of the teeth that a photo shows; None where it does not."""
    size = crop_3SS.shape[-1]
    at = np.arange(size) + 0.5
    between = torch.from_numpy(covered(placed(was, *np.meshgrid(at, at)), GAP_SOFT_PX * size / 512) > 0.95)
    if between.sum() < 12:
        return None
    linear = crop_3SS[:, between].T ** 2.2
    bright = linear @ torch.tensor(LUMINANCE_WEIGHTS)
    chosen = linear[bright >= bright.quantile(0.6)].mean(0)
    # Red is gum or tongue.
    return chosen if float(chosen[1]) > 0.6 * float(chosen[0]) else None
