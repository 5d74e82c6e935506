"""What is worn round the neck and in the ears: collars, scarves, earrings.

Shapes: A azimuths, R points of a cross-section, N vertices, T triangles, H vertices of the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data_prep.studio.looks import mesh
from data_prep.studio.looks.cap import AZIMUTHS, CENTRE_MM, Cap
from data_prep.studio.looks.hair import HairLook
from data_prep.studio.looks.hats import HasHat
from data_prep.studio.looks.noise import smoothstep, value_noise

COLLARS = ("none", "shirt", "turtleneck", "scarf", "hood")
_P = (0.5, 0.2, 0.12, 0.09, 0.09)
RING_POINTS = 12
#: Where an earring hangs, mm, on the mean head; mirrored for the other ear.
_LOBE_MM = (79.0, -20.0, 2.0)


@dataclass(frozen=True)
class TrimLook:
    """``collar`` of :data:`COLLARS`, half ``height_mm`` and ``width_mm`` of its cross-section, ``rgb`` linear;
    ``earring_mm``: radius (0: none), ``earring_rgb``."""

    collar: str
    height_mm: float
    width_mm: float
    rgb: tuple[float, float, float]
    earring_mm: float
    earring_rgb: tuple[float, float, float]


def draw_trim(rng: np.random.Generator, clothes: tuple[float, float, float], wrapped: bool) -> TrimLook:
    """A random collar, half the time none; ``wrapped`` people have the scarf of their headscarf."""
    kind = "scarf" if wrapped else str(rng.choice(COLLARS, p=_P))
    height, width = {
        "none": (10.0, 2.0),
        "shirt": (rng.uniform(14, 22), rng.uniform(2, 4)),
        "turtleneck": (rng.uniform(16, 30), rng.uniform(2.5, 5)),
        "scarf": (rng.uniform(20, 32), rng.uniform(9, 20)),
        "hood": (rng.uniform(18, 26), rng.uniform(10, 20)),
    }[kind]
    own = kind == "scarf" or rng.uniform() < 0.3
    tone = np.exp(rng.uniform(-4, -0.5)) * np.exp(rng.normal(0, 0.45 * rng.uniform(), 3))
    r, g, b = (float(v) for v in np.clip(tone, 0.01, 0.85))
    gold = rng.uniform() < 0.6
    return TrimLook(
        collar=kind,
        height_mm=height,
        width_mm=width,
        rgb=(r, g, b) if own and not wrapped else clothes,
        earring_mm=rng.uniform(2, 7) if rng.uniform() < 0.15 else 0.0,
        earring_rgb=(0.6, 0.4, 0.12) if gold else (0.5, 0.5, 0.52),
    )


class HasTrim(HasHat, Protocol):
    """What is needed to know of a look with a collar and earrings."""

    @property
    def trim(self) -> TrimLook:
        """Its collar and earrings."""

    @property
    def hair(self) -> HairLook:
        """The hair over them."""


class Collar:
    """A :class:`data_prep.studio.looks.wardrobe.Garment`."""

    moves = False

    def __init__(self, cap: Cap, head_H3: Tensor) -> None:
        self._cap = cap
        device = head_H3.device
        self.faces_T3 = mesh.grid_faces(AZIMUTHS, RING_POINTS, closed=True).to(device)
        self.part_T = torch.full((len(self.faces_T3),), 5, device=device)
        self._turn = torch.arange(RING_POINTS, device=device) * (2 * math.pi / RING_POINTS)
        base = self._base(torch.zeros(AZIMUTHS, 1, device=device))
        self.rest_N3 = base.expand(-1, RING_POINTS, -1).reshape(-1, 3)
        nearest = torch.cdist(base[:, 0], head_H3).argmin(1)
        self.anchor_N = nearest[:, None].expand(-1, RING_POINTS).flatten()

    def _base(self, above_mm_AR: Tensor, out_mm_AR: Tensor | None = None) -> Tensor:
        """(A, R, 3) points so far above the base of the neck and so far off it."""
        azimuth = self._cap.azimuth_A[:, None]
        height = above_mm_AR - 150 - 24 * azimuth.cos()
        reach = self._cap.torso(height)
        # The neck is a smooth column here; the chin above it is not part of it.
        reach = reach.clamp_max(92) if out_mm_AR is None else reach.clamp_max(92) + out_mm_AR
        return torch.stack([reach * azimuth.sin(), height, reach * azimuth.cos() + CENTRE_MM[2]], 2)

    def worn(self, look: HasTrim) -> Tensor:
        """Mask (T,) bool."""
        return torch.full((len(self.faces_T3),), look.trim.collar != "none", device=self.faces_T3.device)

    def shape(self, look: HasTrim, moved_H3: Tensor) -> Tensor:
        """(N, 3) mm."""
        trim = look.trim
        lattice = look.lattice_LLL.to(self.rest_N3)
        azimuth = self._cap.azimuth_A
        turn = torch.atan2(azimuth.sin(), azimuth.cos())
        fold = value_noise(torch.stack([3 * azimuth.sin(), 3 * azimuth.cos(), 0 * azimuth], 1), lattice, octaves=3)
        up, out = self._turn.cos().expand(AZIMUTHS, -1), self._turn.sin().expand(AZIMUTHS, -1)
        high = torch.full_like(turn, trim.height_mm)
        wide = torch.full_like(turn, trim.width_mm)
        if trim.collar == "shirt":
            gap = smoothstep(turn.abs(), 0.12, 0.5)
            above = up * (high * (0.55 + 0.45 * gap))[:, None] + 8 - 14 * (1 - gap)[:, None]
            off = (out * wide[:, None]) + 3 + 9 * smoothstep(-up, -0.2, 1) * gap[:, None] - 14 * (1 - gap)[:, None]
        elif trim.collar == "scarf":
            bulk = (1 + 0.22 * fold)[:, None]
            crease = 1 + 0.14 * torch.sin(5 * self._turn + 2 * fold[:, None])
            above, off = up * high[:, None] * bulk + 4, (out * crease + 0.6) * wide[:, None] * bulk
        elif trim.collar == "hood":
            back = smoothstep(turn.abs(), 0.4, 2.2)
            above = up * (high * (0.45 + 0.8 * back))[:, None] + 10 * back[:, None] - 6
            off = (out * (0.4 + back)[:, None] + 0.5) * wide[:, None] * (1 + 0.15 * fold)[:, None]
        else:
            above = up * high[:, None] + 12
            off = out * wide[:, None] + 1.5 + 0.5 * fold[:, None]
        points = self._base(above, off)
        return points.flatten(0, 1) + moved_H3[self.anchor_N]

    def strands(self, look: HasTrim) -> Tensor:
        """(N, 4): see :class:`data_prep.studio.looks.wardrobe.Garment`."""
        del look
        light = (0.6 + 0.4 * smoothstep(self._turn.sin(), -0.6, 0.4)).expand(AZIMUTHS, -1).reshape(-1, 1)
        return torch.cat([self.rest_N3 / 3, light], 1)


class Earrings:
    """A :class:`data_prep.studio.looks.wardrobe.Garment`."""

    moves = False

    def __init__(self, head_H3: Tensor) -> None:
        ball, faces = mesh.sphere(8, 6)
        device = head_H3.device
        self._ball = ball.to(device)
        self.faces_T3 = torch.cat([faces, faces + len(ball)]).to(device)
        self.part_T = torch.full((len(self.faces_T3),), 6, device=device)
        lobes = [
            int((head_H3 - head_H3.new_tensor([s * _LOBE_MM[0], *_LOBE_MM[1:]])).norm(dim=1).argmin()) for s in (-1, 1)
        ]
        self.anchor_N = torch.tensor(lobes, device=device).repeat_interleave(len(ball))
        self.rest_N3 = head_H3[self.anchor_N]

    def worn(self, look: HasTrim) -> Tensor:
        """Mask (T,) bool: not where hair or cloth hides the ears."""
        shown = look.trim.earring_mm > 0 and not look.hair.hangs and not look.hat.hangs
        return torch.full((len(self.faces_T3),), shown, device=self.faces_T3.device)

    def shape(self, look: HasTrim, moved_H3: Tensor) -> Tensor:
        """(N, 3) mm."""
        size = max(look.trim.earring_mm, 0.5)
        ball = self._ball.repeat(2, 1) * size - self._ball.new_tensor([0.0, size, 0.0])
        return self.rest_N3 + moved_H3[self.anchor_N] + ball

    def strands(self, look: HasTrim) -> Tensor:
        """(N, 4): no grain."""
        del look
        return torch.ones(len(self.rest_N3), 4, device=self.rest_N3.device)
