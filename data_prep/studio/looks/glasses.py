"""Glasses: rims, bridge and temples as thin tubes, and dark lenses; fitted so that they touch no face.

Shapes: P points of a rim, N vertices, T triangles, H vertices of the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data_prep.studio.looks import mesh

RIM_POINTS, SIDES = 28, 4
#: Height of the eyes and how far the ears' upper ends are to the side and back, mm, of the mean head.
_EYES_MM, _EAR_MM = 35.0, (77.0, 41.0, 2.0)


@dataclass(frozen=True)
class GlassesLook:
    """``worn``, ``dark`` (opaque lenses); half ``width_mm`` and ``height_mm`` of a lens; ``corners``: exponent of the
    outline, 2 round, 4 nearly rectangular; ``rise``: the outer end higher, as cat's eyes are; ``wire_mm`` radius of the
    rim; ``rgb`` linear, ``metal``."""

    worn: bool
    dark: bool
    width_mm: float
    height_mm: float
    corners: float
    rise: float
    wire_mm: float
    rgb: tuple[float, float, float]
    metal: bool


def draw_glasses(rng: np.random.Generator) -> GlassesLook:
    """Random glasses, worn by 22 %; the distributions are described in docs/studio.md."""
    metal = bool(rng.uniform() < 0.4)
    width = rng.uniform(21, 27)
    tone = rng.choice([0.01, 0.03, 0.1, 0.3], p=[0.5, 0.2, 0.2, 0.1]) * np.exp(rng.normal(0, 0.4, 3))
    r, g, b = (float(v) for v in np.clip(tone, 0.004, 0.6))
    return GlassesLook(
        worn=bool(rng.uniform() < 0.22),
        dark=bool(rng.uniform() < 0.22),
        width_mm=width,
        height_mm=width * rng.uniform(0.62, 0.98),
        corners=rng.uniform(2, 4.5),
        rise=rng.uniform(-0.05, 0.2),
        wire_mm=rng.uniform(0.6, 1.1) if metal else rng.uniform(1.0, 2.6),
        rgb=(r, g, b),
        metal=metal,
    )


class HasGlasses(Protocol):
    """What is needed to know of a look with glasses."""

    @property
    def glasses(self) -> GlassesLook:
        """Its glasses."""


class Glasses:
    """A :class:`data_prep.studio.looks.wardrobe.Garment`."""

    moves = False

    def __init__(self, head_H3: Tensor, front_V: Tensor) -> None:
        """``front_V``: vertices of the front of the face, which the frame keeps clear of."""
        device = head_H3.device
        self._head, self._front = head_H3, front_V
        rim, bar = mesh.tube_faces(RIM_POINTS, SIDES, closed=True), mesh.tube_faces(6, SIDES, closed=False)
        n_rim, n_bar = RIM_POINTS * SIDES, 6 * SIDES
        fan = torch.stack([torch.arange(RIM_POINTS), (torch.arange(RIM_POINTS) + 1) % RIM_POINTS], 1)
        lens = torch.cat([torch.full((RIM_POINTS, 1), RIM_POINTS), fan], 1)
        sets, parts, start = [], [], 0
        for faces, count, part in [
            *[(rim, n_rim, 3)] * 2,
            *[(bar, n_bar, 3)] * 3,
            *[(lens, RIM_POINTS + 1, 4)] * 2,
        ]:
            sets.append(faces + start)
            parts.append(torch.full((len(faces),), part))
            start += count
        self.faces_T3, self.part_T = torch.cat(sets).to(device), torch.cat(parts).to(device)
        ears = [
            int((head_H3 - head_H3.new_tensor([side * _EAR_MM[0], *_EAR_MM[1:]])).norm(dim=1).argmin())
            for side in (-1, 1)
        ]
        self._ears = ears
        bridge = int((head_H3 - head_H3.new_tensor([0.0, _EYES_MM + 2, 112.0])).norm(dim=1).argmin())
        self._bridge = bridge
        self.anchor_N = torch.full((start,), bridge, device=device)
        self.rest_N3 = head_H3[self.anchor_N]

    def worn(self, look: HasGlasses) -> Tensor:
        """Mask (T,) bool."""
        glasses = look.glasses
        return (self.part_T == 3) & glasses.worn | (self.part_T == 4) & (glasses.worn and glasses.dark)

    def shape(self, look: HasGlasses, moved_H3: Tensor) -> Tensor:
        """(N, 3) mm."""
        glasses = look.glasses
        face = self._head[self._front] + moved_H3[self._front]
        bridge = self._head[self._bridge] + moved_H3[self._bridge]
        turn = torch.arange(RIM_POINTS, device=face.device) * (2 * math.pi / RIM_POINTS)
        power = 2 / glasses.corners
        u = turn.cos().sign() * turn.cos().abs() ** power
        v = turn.sin().sign() * turn.sin().abs() ** power
        middle = 8.5 + glasses.width_mm  # half the bridge, and half the lens
        x = middle + glasses.width_mm * u
        y = _EYES_MM - 1 + glasses.height_mm * v + glasses.rise * glasses.width_mm * (u * (v > 0) + 0.3 * u)
        y = y + (bridge[1] - self._head[self._bridge, 1])
        z = -((x / 80).square()) * 14
        right, left = torch.stack([-x, y, z], 1), torch.stack([x, y, z], 1)
        rims = torch.cat([right, left])
        # As near as leaves every point of the rims before the face.
        apart = torch.cdist(rims[:, :2], face[:, :2])
        ahead = torch.where(apart < 5, face[:, 2], face.new_tensor(-1e3)).amax(1)
        forward = (ahead - rims[:, 2]).amax() + 1.5 + glasses.wire_mm
        shift = face.new_tensor([0.0, 0.0, 1.0]) * forward
        right, left = right + shift, left + shift
        t = torch.linspace(0, 1, 6, device=face.device)[:, None]
        inner = left[RIM_POINTS // 2 - 2]
        arch = inner * face.new_tensor([-1.0, 1, 1]) * (1 - t) + inner * t
        arch = arch + face.new_tensor([0.0, 3.0, 1.5]) * (4 * t * (1 - t))
        tubes = [right.flip(0), left, arch]
        for side, ear in ((-1.0, self._ears[0]), (1.0, self._ears[1])):
            hinge = left[2] * face.new_tensor([side, 1.0, 1.0])
            end = self._head[ear] + moved_H3[ear] + face.new_tensor([2.0 * side, 2.0, -4.0])
            wide = torch.maximum(hinge[0].abs() + 4, end[0].abs() - 13)
            knee = torch.stack([side * wide, hinge[1], hinge[2] - 12])
            path = torch.stack([hinge, knee, knee + (end - knee) * 0.33, knee + (end - knee) * 0.66, end, end])
            path[5] = end + face.new_tensor([-2.0 * side, -8.0, -10.0])
            tubes.append(path)
        wire = [mesh.tube_points(c, glasses.wire_mm, SIDES, (0.0, 0.0, 1.0)) for c in tubes[:3]]
        wire += [mesh.tube_points(c, glasses.wire_mm, SIDES, (0.0, 1.0, 0.0)) for c in tubes[3:]]
        lenses = [torch.cat([c, c.mean(0, keepdim=True)]) for c in (right.flip(0), left)]
        return torch.cat([*wire, *lenses])

    def strands(self, look: HasGlasses) -> Tensor:
        """(N, 4): no grain."""
        del look
        return torch.ones(len(self.rest_N3), 4, device=self.rest_N3.device)
