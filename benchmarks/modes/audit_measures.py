"""Whether a picture and a depth map belong together: what is measured of each pair, one picture at a time.

Depth is normalised (larger = farther, in [-1, 1]); nothing in it is told to what looks at RGB, and the reverse.

Shapes: B pictures, S x S pixels, N landmarks.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.depth.photo_heads import FITS, HeadGuesses
from benchmarks.depth.regions import FINDING_SIDE_PX
from benchmarks.modes.measure import HEAD
from jdap.choices import BACKGROUND, CLOTH, PARSED, SHIPPED_PARSER
from jdap.faces.landmarker import FACE_LANDMARKS, Face, Landmarker, face_width_px
from jdap.faces.parser import load_parser
from jdap.metrics.depth import NORMALISED, align_scale_shift, rmse, within
from jdap.metrics.ssi import MIN_PIXELS
from jdap.shape.clay import clay

#: What is measured → (unit, whether higher is better).
CHECKS = {
    "estimated again": ("0.1-1", False),
    "fitted again": ("0.1-1", False),
    "silhouette IoU": ("share", True),
    "landmark offset": ("% of width", False),
    "fronts in RGB": ("faces", False),
    "fronts in depth": ("noses", False),
}
#: A front of depth is what comes this much nearer than the saddle to the next one, as a share of the face's range.
PROMINENCE = 0.25
#: Landmarks on the contour slide along it: these are compared, the brows', eyes', nose's and mouth's.
INNER = (
    *(33, 133, 159, 145, 263, 362, 386, 374),
    *(70, 105, 107, 300, 334, 336),
    *(168, 6, 1, 4, 98, 327, 2),
    *(61, 291, 0, 17),
)


class Auditor:
    """Looks at pictures and their depth, by the parser that ships, fitted heads and mediapipe's landmarker."""

    def __init__(self, landmarker: Landmarker) -> None:
        parser = load_parser(SHIPPED_PARSER)
        assert parser is not None
        self.parser, self.landmarker = parser, landmarker
        self.guesses = HeadGuesses({"fitted_head_mm": FITS["fitted_head_mm"]})

    def __call__(self, rgb: Tensor, depth: Tensor, again: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Numbers by :data:`CHECKS`, (B,) float64, and pictures for a sheet, (B, 3, S, S) in [-1, 1].

        ``rgb`` (B, 3, S, S), ``depth`` and ``again``, that estimated of the RGB, (B, 1, S, S), all in [-1, 1]. NaN
        where something cannot be told: no face is found in the RGB, or none in the relief of the depth.
        """
        side = rgb.shape[-1]
        shaded = clay(depth, HEAD)
        faces = [self._faces(picture) for picture in rgb]
        seen = [self._faces(picture) for picture in shaded]
        fitted = torch.stack([self._fitted(found, side) for found in faces]).to(depth)
        person = self._person(rgb)
        head = depth.cpu() < HEAD
        values = {
            "estimated again": disagreement(depth, again, depth < HEAD),
            "fitted again": disagreement(depth, fitted, (fitted > 0) & (depth < HEAD)),
            "silhouette IoU": iou(head, person),
            "landmark offset": torch.tensor([_offset(a, b) for a, b in zip(faces, seen, strict=True)]),
            # A picture in which no face is found says nothing of several.
            "fronts in RGB": torch.tensor([float(len(found)) if found else math.nan for found in faces]),
            "fronts in depth": torch.tensor([float(fronts(one[0].cpu().numpy())) for one in depth]),
        }
        both = torch.stack([head[:, 0].float(), person[:, 0].float(), person[:, 0].float()], 1) * 2 - 1
        return {name: value.double().cpu() for name, value in values.items()}, {"relief": shaded, "silhouettes": both}

    def _faces(self, rgb_3SS: Tensor) -> list[Face]:
        large = F.interpolate(rgb_3SS[None].float().cpu(), (FINDING_SIDE_PX, FINDING_SIDE_PX), mode="bicubic")
        return self.landmarker.find(((large[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())

    def _fitted(self, faces: list[Face], side: int) -> Tensor:
        """(1, S, S) depth in mm of the head fitted to the RGB's landmarks, 0 = none."""
        if not faces:
            return torch.zeros(1, side, side)
        whole = np.array([0.0, 0.0, FINDING_SIDE_PX])
        maps, _, _ = self.guesses(faces[0], FINDING_SIDE_PX, FINDING_SIDE_PX, whole, side)
        return torch.from_numpy(maps["fitted_head_mm"])[None]

    def _person(self, rgb: Tensor) -> Tensor:
        """(B, 1, S, S) bool: head and what it wears, as the parser sees it in the RGB."""
        pixels = ((rgb.float().cpu() + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        best = torch.from_numpy(self.parser.shares(pixels).argmax(1))[:, None]
        return (best != PARSED.index(BACKGROUND)) & (best != PARSED.index(CLOTH))


def disagreement(depth: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """(B,) RMSE of another depth map against this one where the mask is, after scale and shift, in the normalised
    frame; NaN under :data:`jdap.metrics.ssi.MIN_PIXELS` pixels."""
    target = within(NORMALISED, depth)
    error = rmse(align_scale_shift(other, target, mask), target, mask)
    return torch.where(mask.flatten(1).sum(1) >= MIN_PIXELS, error, torch.nan)


def iou(a_B1SS: Tensor, b_B1SS: Tensor) -> Tensor:
    """(B,) intersection over union of two masks; NaN where both are empty."""
    both, either = ((x.flatten(1).sum(1).double()) for x in (a_B1SS & b_B1SS, a_B1SS | b_B1SS))
    return both / torch.where(either > 0, either, torch.nan)


def fronts(depth_SS: np.ndarray, prominence: float = PROMINENCE) -> int:
    """How many noses a depth map has: peaks towards the camera that rise by ``prominence`` of the range (2) over the
    saddle to a nearer one, or over the background (persistence of superlevel sets, Edelsbrunner et al. 2002)."""
    heights = -depth_SS.astype(np.float64).ravel()
    side = depth_SS.shape[1]
    order = np.argsort(-heights, kind="stable")
    parent, peak = np.full(len(heights), -1), np.empty(len(heights))
    count = 0

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i in order.tolist():
        if heights[i] <= -HEAD:
            break
        parent[i], peak[i] = i, heights[i]
        row, column = divmod(i, side)
        beside = [(row > 0, i - side), (row < depth_SS.shape[0] - 1, i + side)]
        beside += [(column > 0, i - 1), (column < side - 1, i + 1)]
        for there, j in beside:
            if there and parent[j] >= 0 and (a := root(i)) != (b := root(j)):
                lower, upper = (a, b) if peak[a] <= peak[b] else (b, a)
                count += peak[lower] - heights[i] >= prominence * 2
                parent[lower] = upper
    alone = {root(i) for i in np.flatnonzero(parent >= 0).tolist()}
    return count + sum(bool(peak[i] + HEAD >= prominence * 2) for i in alone)


def _offset(seen: list[Face], shaped: list[Face]) -> float:
    """Mean distance of landmarks in RGB and in the relief, % of the face's width; NaN where either has no face."""
    if not seen or not shaped:
        return math.nan
    a, b = (found[0].landmarks_px_N3[:FACE_LANDMARKS, :2] for found in (seen, shaped))
    return float(100 * np.linalg.norm(a[list(INNER)] - b[list(INNER)], axis=1).mean() / face_width_px(a))
