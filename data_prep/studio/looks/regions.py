"""Where the parts of a face are, measured once on the mean head of ICT-FaceKit.

Everything is a number for each vertex of the mean head, so it moves with the face whatever its shape or expression.
Heights and lines are in millimetres of the mean head's own space (x to the subject's left, y up, z out of the face).

Shapes: V vertices, P points of a line.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from data_prep.head.model import MorphableModel
from data_prep.studio.looks.noise import smoothstep

# ICT-FaceKit's vertices of the Multi-PIE landmarks (its vertex_indices.json), subject's right side first.
BROWS = ((268, 493, 1914, 2044, 1401), (2509, 2734, 4114, 4240, 3615))
EYELID_VERTICES = ((1507, 1542, 1537, 1528, 1518, 1511), (3742, 3751, 3756, 3721, 3725, 3732))
LIPS_OUTER = (5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841)
#: Middle of the inner edges of the upper and the lower lip, and the chin.
LIP_TOP, LIP_BOTTOM, CHIN = 5533, 5517, 966
#: Lines over the side of the head as (z, y) knots: the hairline from nape to forehead, and the beard's two edges.
HAIRLINE_MM = (
    *((-200.0, -62.0), (-90.0, -62.0), (-55.0, -55.0), (-32.0, -25.0), (-20.0, 15.0), (-12.0, 40.0), (20.0, 42.0)),
    *((34.0, 44.0), (48.0, 58.0), (60.0, 72.0), (72.0, 86.0), (90.0, 92.0), (140.0, 92.0)),
)
CHEEK_MM = ((0.0, 10.0), (25.0, -5.0), (60.0, -22.0), (95.0, -34.0), (120.0, -40.0))
#: The fold beside the mouth as points of the mean head's left half.
FOLD_MM = ((19.0, 1.0, 113.0), (26.0, -8.0, 108.0), (31.0, -20.0, 103.0), (33.0, -32.0, 99.0))
THROAT_MM = ((0.0, -75.0), (60.0, -100.0), (100.0, -110.0))


@dataclass(frozen=True, eq=False)
class HeadRegions:
    """Soft masks (V,) in 0 … 1, distances in mm, and the eyeballs, of the mean head.

    * ``lips``, ``cheeks``, ``nose_tip``, ``under_eye``, ``beard``, ``moustache``, ``lash_line``, ``ears``: masks
    * ``folds``: from the wings of the nose past the corners of the mouth; ``lid_mm`` (V,): distance to the upper lid,
      100 below and behind it
    * ``brow_mm`` (V,): distance to the line of the nearer brow; ``brow_along`` (V,) 0 at its inner end, 1 at the outer;
      ``brow_up_mm`` (V,) height over that line
    * ``above_hairline_mm`` (V,): height over the hairline, negative on the face and neck
    * ``collar_mm`` (V,): height over a middling collar, negative on the shoulders
    * ``eyeball_mm`` (2, 3): centres of the right and the left eyeball
    """

    lips: Tensor
    cheeks: Tensor
    nose_tip: Tensor
    under_eye: Tensor
    beard: Tensor
    moustache: Tensor
    lash_line: Tensor
    ears: Tensor
    folds: Tensor
    lid_mm: Tensor
    brow_mm: Tensor
    brow_along: Tensor
    brow_up_mm: Tensor
    above_hairline_mm: Tensor
    collar_mm: Tensor
    eyeball_mm: Tensor

    def take(self, vertices: Tensor) -> Self:
        """The regions of some vertices (indices), in that order."""
        names = (f.name for f in fields(self) if f.name != "eyeball_mm")
        return replace(self, **{name: getattr(self, name)[vertices] for name in names})


def find_regions(model: MorphableModel) -> HeadRegions:
    """Measure the regions on ``model.mean_V3``."""
    rest = model.mean_V3
    x, y, z = rest.unbind(1)
    in_face = torch.zeros(len(rest), dtype=torch.bool, device=rest.device)
    in_face[model.faces_T3[model.part("face")].flatten()] = True
    front = in_face & (z > 60)

    lips = smoothstep(-_outside_mm(rest, LIPS_OUTER), -1.5, 1.0) * front
    around_mouth_mm = _outside_mm(rest, LIPS_OUTER)
    brow_mm, brow_along, brow_up = _brow(rest)
    eye_mm = torch.stack([_line_mm(rest, (*eye, eye[0]))[0] for eye in EYELID_VERTICES]).amin(0)
    upper_mm = torch.stack([_line_mm(rest, eye[:4])[0] for eye in EYELID_VERTICES]).amin(0)
    lash = torch.maximum(1 - smoothstep(upper_mm, 0.4, 2.0), 0.35 * (1 - smoothstep(eye_mm, 0.3, 1.2)))

    mirrored = rest.clone()
    mirrored[:, 0] = x.abs()

    def blob(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Tensor:
        scaled = (mirrored - rest.new_tensor(centre)) / rest.new_tensor(radii)
        return torch.exp(-scaled.square().sum(1)) * in_face

    def line(knots: tuple[tuple[float, float], ...]) -> Tensor:
        """(V,) the height that the line through (z, y) knots has at each vertex's z."""
        return torch.from_numpy(np.interp(z.cpu().numpy(), *np.array(knots).T)).to(rest)

    # The beard grows below a line from the ear to the corner of the mouth, on the jaw and under the chin.
    beard = smoothstep(line(CHEEK_MM) - y, -2, 12) * smoothstep(y - line(THROAT_MM), 0, 14) * smoothstep(z, 6, 16)
    moustache = torch.maximum(blob((17, -18, 110), (18, 6, 24)), blob((5, -16, 115), (11, 5.5, 20)))
    ears = in_face * smoothstep(x.abs(), 70, 76) * smoothstep(20 - z, -2, 3) * smoothstep(y, -30, -20) * (y < 42)

    return HeadRegions(
        lips=lips,
        cheeks=blob((46, 2, 85), (22, 18, 30)),
        nose_tip=blob((0, 3, 128), (15, 12, 16)),
        under_eye=blob((30, 22, 92), (14, 7, 16)),
        beard=beard * in_face * (1 - lips) * smoothstep(around_mouth_mm, 0, 4) * (1 - ears),
        moustache=moustache * (1 - lips),
        lash_line=lash * front,
        ears=ears,
        folds=torch.exp(-(_line_mm(mirrored, FOLD_MM)[0] / 2.5).square()) * front,
        lid_mm=torch.where(front & (eye_mm > 0) & _above_eyes(rest), upper_mm, upper_mm.new_tensor(100.0)),
        brow_mm=torch.where(front, brow_mm, brow_mm.new_tensor(100.0)),
        brow_along=brow_along,
        brow_up_mm=brow_up,
        above_hairline_mm=y - line(HAIRLINE_MM),
        collar_mm=y - (-148 - 0.3 * z),
        eyeball_mm=_eyeballs(model),
    )


def _eyeballs(model: MorphableModel) -> Tensor:
    """Centres of the eyeballs (2, 3): right, left. The ball proper, without the bulge of the cornea in front."""
    centres = []
    points = model.mean_V3[model.faces_T3[model.part("sclera")].flatten().unique()]
    for side in (-1, 1):
        ball = points[points[:, 0] * side > 0]
        low, high = ball.amin(0), ball.amax(0)
        centre = (low + high) / 2
        centre[2] = low[2] + (high[1] - low[1]) / 2
        centres.append(centre)
    return torch.stack(centres)


def _above_eyes(points: Tensor) -> Tensor:
    """Mask (V,): at the height of the upper lids or above."""
    return points[:, 1] > min(float(points[eye[0], 1]) for eye in EYELID_VERTICES) - 1


def _line_mm(points: Tensor, corners: tuple[int, ...] | tuple[tuple[float, ...], ...]) -> tuple[Tensor, Tensor]:
    """Distance (V,) to the polyline through vertices or points, and how far along it (V,) that point is, 0 … 1."""
    line = points[list(corners)] if isinstance(corners[0], int) else points.new_tensor(corners)
    a, b = line[:-1], line[1:]
    lengths = (b - a).norm(dim=1)
    starts = lengths.cumsum(0) - lengths
    to = points[:, None] - a
    t = ((to * (b - a)).sum(-1) / lengths.square()).clamp(0, 1)
    distance, nearest = (to - t[..., None] * (b - a)).norm(dim=-1).min(1)
    along = (starts + t * lengths).gather(1, nearest[:, None])[:, 0]
    return distance, along / lengths.sum()


def _outside_mm(points: Tensor, corners: tuple[int, ...]) -> Tensor:
    """Signed distance (V,) in the frontal plane to the polygon of the vertices ``corners``, negative inside."""
    flat = points * points.new_tensor([1.0, 1.0, 0.0])
    distance, _ = _line_mm(flat, (*corners, corners[0]))
    a = flat[list(corners)]
    b = a.roll(-1, 0)
    x, y = flat[:, None, 0], flat[:, None, 1]
    straddles = (a[:, 1] > y) != (b[:, 1] > y)
    rise = torch.where(a[:, 1] == b[:, 1], torch.ones_like(a[:, 1]), b[:, 1] - a[:, 1])
    crossings = straddles & (x < a[:, 0] + (y - a[:, 1]) / rise * (b[:, 0] - a[:, 0]))
    return torch.where(crossings.sum(1) % 2 == 1, -distance, distance)


def _brow(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance, share of the way outwards and height over the line (V,) of the nearer brow."""
    lines = [_line_mm(points, brow) for brow in BROWS]
    distance = torch.stack([d for d, _ in lines])
    along = torch.stack([1 - t for _, t in lines])  # both lines start at the outer end
    nearest = distance.argmin(0, keepdim=True)
    distance, along = distance.gather(0, nearest)[0], along.gather(0, nearest)[0]
    # Over the mean of both brows at that share of the way: they are mirrored.
    line = points[list(BROWS[0])].flip(0)
    steps = torch.cat([line.new_zeros(1), line.diff(dim=0).norm(dim=1).cumsum(0)])
    heights = np.interp(along.cpu().numpy(), (steps / steps[-1]).cpu().numpy(), line[:, 1].cpu().numpy())
    return distance, along, points[:, 1] - torch.from_numpy(heights).to(points)
