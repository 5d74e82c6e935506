"""A stable square crop of the head, and the cameras that belong to it.

The size of the window is fixed for a clip. It stands still where the head does; where the head moves farther it follows
slowly (a Gaussian over time). Near the edge of the picture it is pushed inside, and made smaller where the picture is
no larger than a head; what is still missing then is padded by repeating the picture's edge, and counted in the score
``padded``.

Shapes: F frames, N landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from jdap.geometry import PinholeCamera

#: Window size over the longer side of the landmarks' box: hair, chin and some neck.
HEAD_OVER_FACE = 1.9
#: A picture that is tighter than that may cut the window down to this; beyond it the picture is padded.
LEAST_OVER_FACE = 1.35
#: The landmarks end on the forehead: the head's middle lies higher by this share of the box.
RISE = 0.1
#: The window stands still while the face's centre stays within this share of the window around its middle …
STANDS_STILL = 0.08
#: … and otherwise follows a Gaussian mean over this many seconds (standard deviation).
SMOOTH_S = 0.6


def head_windows(landmarks_px_FN: np.ndarray, width: int, height: int, fps: float) -> np.ndarray:
    """(F, 3) float64 left, top, size of the crop in pixels of the picture, from landmarks (F, N, 2 or 3)."""
    points = landmarks_px_FN[..., :2].astype(np.float64)
    low, high = points.min(1), points.max(1)
    face = float(np.quantile((high - low).max(1), 0.95))
    size = face * HEAD_OVER_FACE
    size = min(size, max(min(width, height), face * LEAST_OVER_FACE))
    centre = (low + high) / 2 - [0, RISE * face]
    middle = (centre.min(0) + centre.max(0)) / 2
    if np.abs(centre - middle).max() <= STANDS_STILL * size:
        centre = np.broadcast_to(middle, centre.shape)
    else:
        centre = _smooth(centre, SMOOTH_S * fps)
    corner = centre - size / 2
    # Inside the picture where it is large enough; centred over it where it is not.
    room = np.array([width, height]) - size
    corner = np.where(room >= 0, corner.clip(0, np.maximum(room, 0)), corner)
    return np.column_stack([corner, np.full(len(corner), size)])


def head_window(landmarks_px_N: np.ndarray, width: int, height: int) -> np.ndarray:
    """(3,) float64 left, top, size of the crop of a single picture: that of a clip of one frame."""
    return head_windows(landmarks_px_N[None], width, height, fps=1.0)[0]


def _smooth(path_F2: np.ndarray, frames: float) -> np.ndarray:
    """A Gaussian mean over time; beyond its ends the path goes on as its point reflection, which holds nothing back."""
    reach = min(len(path_F2) - 1, round(3 * frames))
    longer = np.pad(path_F2, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    return gaussian_filter1d(longer, frames, axis=0, mode="nearest")[reach : reach + len(path_F2)]


@dataclass(frozen=True, eq=False)
class Region:
    """A part (h, w, 3) uint8 of a picture of ``width`` x ``height`` pixels, which begins at ``left``, ``top``."""

    rgb_HW3: np.ndarray
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def whole(cls, frame: np.ndarray) -> Region:
        """All of a picture (H, W, 3)."""
        return cls(frame, 0, 0, frame.shape[1], frame.shape[0])

    def holds(self, window_px: np.ndarray, size: int) -> bool:
        """Whether all of the picture is there that :func:`cut` asks for."""
        x0, y0, x1, y1 = _reach(window_px, size)
        high, wide = self.rgb_HW3.shape[:2]
        across = self.left <= max(x0, 0) and min(x1, self.width) <= self.left + wide
        return across and self.top <= max(y0, 0) and min(y1, self.height) <= self.top + high


def crop_frame(frame: np.ndarray, window_px: np.ndarray, size: int, black: bool = False) -> np.ndarray:
    """The window (left, top, size in pixels) of a frame (H, W, 3) uint8, resampled to (size, size, 3).

    Bicubic with antialiasing, exact for fractional windows: the square [left, left + size) fills the output, as in
    :meth:`jdap.geometry.PinholeCamera.crop`. What lies outside of the frame repeats its edge, or is ``black``.
    """
    return cut(Region.whole(frame), window_px, size, black).resampled(size)


@dataclass(frozen=True, eq=False)
class Cut:
    """What is to be resampled: of a picture (h, w, 3) uint8 the square ``box``: left, top, right, bottom, pixels."""

    rgb_HW3: np.ndarray
    box: tuple[float, float, float, float]

    def resampled(self, size: int) -> np.ndarray:
        """(size, size, 3) uint8, by Pillow."""
        return np.asarray(Image.fromarray(self.rgb_HW3).resize((size, size), Image.Resampling.BICUBIC, box=self.box))


def cut(region: Region, window_px: np.ndarray, size: int, black: bool = False) -> Cut:
    """What of a picture a window (left, top, size in pixels) resampled to ``size`` pixels needs: what the filter sees,
    no more. The region must hold it (:meth:`Region.holds`)."""
    left, top, side = (float(x) for x in window_px)
    x0, y0, x1, y1 = _reach(window_px, size)
    part = region.rgb_HW3[max(y0, 0) - region.top : y1 - region.top, max(x0, 0) - region.left : x1 - region.left]
    if left < 0 or top < 0 or left + side > region.width or top + side > region.height:
        around = ((max(-y0, 0), max(y1 - region.height, 0)), (max(-x0, 0), max(x1 - region.width, 0)), (0, 0))
        part = np.pad(part, around, mode="constant" if black else "edge")
    else:
        x0, y0 = max(x0, 0), max(y0, 0)
    return Cut(part, (left - x0, top - y0, left - x0 + side, top - y0 + side))


def _reach(window_px: np.ndarray, size: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what the filter sees: two pixels of the coarser grid around the window."""
    left, top, side = (float(x) for x in window_px)
    margin = int(np.ceil(2 * max(1.0, side / size))) + 1
    x0, y0 = int(np.floor(left)) - margin, int(np.floor(top)) - margin
    return x0, y0, int(np.ceil(left + side)) + margin, int(np.ceil(top + side)) + margin


def resample_batch(cuts: Sequence[Cut], size: int, device: torch.device | str) -> np.ndarray:
    """(F, size, size, 3) uint8: the cuts resampled together on a device, within 1 of 255 of :meth:`Cut.resampled`."""
    high, wide = (max(cut.rgb_HW3.shape[axis] for cut in cuts) for axis in (0, 1))
    pictures = torch.zeros(len(cuts), high, wide, 3, dtype=torch.uint8)
    for picture, one in zip(pictures, cuts, strict=True):
        picture[: one.rgb_HW3.shape[0], : one.rgb_HW3.shape[1]] = torch.from_numpy(one.rgb_HW3)
    boxes = torch.tensor([one.box for one in cuts], device=device)
    ends = torch.tensor([one.rgb_HW3.shape[1::-1] for one in cuts], device=device)
    across = _bicubic(boxes[:, 0], boxes[:, 2], ends[:, 0], wide, size)
    down = _bicubic(boxes[:, 1], boxes[:, 3], ends[:, 1], high, size)
    planes_F3HW = pictures.to(device).permute(0, 3, 1, 2).float()
    # Pillow has whole numbers between its two passes.
    lines = (planes_F3HW @ across.transpose(1, 2)[:, None]).round().clamp(0, 255)
    out = down[:, None] @ lines
    return out.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def _bicubic(low_F: torch.Tensor, high_F: torch.Tensor, end_F: torch.Tensor, pixels: int, size: int) -> torch.Tensor:
    """(F, size, pixels): weights of bicubic resampling (a = -1/2) of [low, high) to ``size`` pixels, the kernel as wide
    as the coarser grid's; pixels from ``end_F`` on are none."""
    step_F = ((high_F - low_F) / size)[:, None, None]
    at_F = low_F[:, None, None] + (torch.arange(size, device=low_F.device)[:, None] + 0.5) * step_F
    index = torch.arange(pixels, device=low_F.device)
    x = ((index + 0.5 - at_F) / step_F.clamp_min(1)).abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0)) * (index < end_F[:, None, None])
    return weights / weights.sum(2, keepdim=True)


def window_cameras(camera: PinholeCamera, windows_px_F3: np.ndarray, size: int) -> np.ndarray:
    """(F, 3) float32: focal length and principal point of each window, in pixels of the stored frame."""
    crops = [camera.crop(left, top, side, size) for left, top, side in windows_px_F3.tolist()]
    return np.stack([crop.as_tensor().numpy() for crop in crops])


def to_window(points_px: np.ndarray, windows_px_F3: np.ndarray, size: int) -> np.ndarray:
    """Points (F, N, 2) in pixels of the picture → pixels of the stored frames."""
    return (points_px - windows_px_F3[:, None, :2]) * (size / windows_px_F3[:, None, 2:])


def padded_share(windows_px_F3: np.ndarray, width: int, height: int) -> np.ndarray:
    """(F,) in [0, 1]: how much of each window lies outside of the picture."""
    left, top, side = windows_px_F3.T
    inside = [
        (np.minimum(start + side, end) - np.maximum(start, 0)).clip(0) / side
        for start, end in ((left, width), (top, height))
    ]
    return (1 - inside[0] * inside[1]).clip(0)
