"""Whether a video holds still where it should: flicker in static regions, jitter, and jumps between windows.

A pixel is *static* from one frame to the next where the RGB of its neighbourhood hardly changes (:func:`static_pairs`):
no rule of this kind knows the truth, but videos of depth that belong to the same RGB are compared on the same pixels.
Everything is in the unit of what is given; RGB and normalised depth both have a range of 2.

Shapes: F frames, C channels, H x W pixels; P = F − 1 pairs of neighbouring frames.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

#: The largest change of RGB (range 2) in a pixel's neighbourhood that counts as none: about five of 255 levels, what
#: the shards' JPEG and an image codec leave of a pixel that does not move.
STILL_RGB = 0.04
#: The neighbourhood's side in pixels of 128; larger pictures take it in proportion.
NEIGHBOURHOOD = 3 / 128
#: Of the changes inside windows, the share that lies below what a border's is compared with in :func:`border_jumps`.
USUAL = 0.95


def static_pairs(rgb_F3HW: Tensor, threshold: float = STILL_RGB) -> Tensor:
    """Where a video in [-1, 1] stands still from one frame to the next (P, 1, H, W) bool.

    There no channel of any pixel of the neighbourhood changes by more than ``threshold``. Borders of the picture see
    only what is inside.
    """
    change = rgb_F3HW.diff(dim=0).abs().amax(1, keepdim=True)
    side = max(3, round(NEIGHBOURHOOD * rgb_F3HW.shape[-1]) // 2 * 2 + 1)
    return F.max_pool2d(change, side, stride=1, padding=side // 2) <= threshold


def changes(video_FCHW: Tensor) -> Tensor:
    """Mean absolute change of each pair of neighbouring frames (P,) float64, over the whole picture."""
    return video_FCHW.double().diff(dim=0).abs().flatten(1).mean(1)


def flicker(video_FCHW: Tensor, static_P1HW: Tensor) -> Tensor:
    """Mean absolute change from frame to frame over static pixels, a float64 scalar; NaN where nothing is static."""
    return _mean(video_FCHW.double().diff(dim=0).abs(), static_P1HW)


def jitter(video_FCHW: Tensor, static_P1HW: Tensor) -> Tensor:
    """Mean of ``|x[f−1] − 2 x[f] + x[f+1]|`` over pixels that are static in both pairs, a float64 scalar.

    A steady drift has none; a value that jumps there and back in every frame has twice its :func:`flicker`.
    """
    return _mean(video_FCHW.double().diff(n=2, dim=0).abs(), static_P1HW[1:] & static_P1HW[:-1])


def border_jumps(changes_P: Tensor, borders: Iterable[int]) -> dict[str, float]:
    """Whether a video jumps where one window ends and the next begins.

    ``changes_P`` are those of neighbouring frames (:func:`changes`); ``borders`` the frames that a window begins with
    (0 is none). → ``ratio``: median change across borders over the median change inside windows; medians, because a
    nod or a blink is no jump. ``above_usual``: the share of borders whose change is above the 95 % quantile of those
    inside; 0.05 is chance. ``borders``: how many there are. NaN without a border, or without a change inside.

    Raises ValueError for a border outside of the video.
    """
    at = sorted({b - 1 for b in borders if b != 0})
    if at and not (at[0] >= 0 and at[-1] < len(changes_P)):
        raise ValueError(f"windows begin at frames {at[0] + 1} … {at[-1] + 1}, the video has {len(changes_P) + 1}")
    across = torch.zeros(len(changes_P), dtype=torch.bool)
    across[at] = True
    steps = changes_P.double().cpu()
    inside, jumps = steps[~across], steps[across]
    if not len(inside) or not len(jumps) or inside.median() <= 0:
        return {"ratio": float("nan"), "above_usual": float("nan"), "borders": float(len(jumps))}
    return {
        "ratio": float(jumps.quantile(0.5) / inside.quantile(0.5)),
        "above_usual": float((jumps > inside.quantile(USUAL)).double().mean()),
        "borders": float(len(jumps)),
    }


def _mean(values_PCHW: Tensor, mask_P1HW: Tensor) -> Tensor:
    mask = mask_P1HW.expand_as(values_PCHW)
    return torch.where(mask, values_PCHW, 0).sum() / mask.sum()
