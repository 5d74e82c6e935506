"""Hats: a dome over the cap's paths down to an edge, and a brim. Hoods and headscarves hang as long hair does.

Shapes: A azimuths, R rows, N vertices, T triangles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.studio.looks import mesh
from data_prep.studio.looks.cap import AZIMUTHS, CENTRE_MM, Cap
from data_prep.studio.looks.noise import HasGrain, smoothstep, value_noise

HAT_KINDS = ("none", "beanie", "cap", "brim", "headscarf", "hood")
_P = (0.8, 0.05, 0.05, 0.035, 0.04, 0.025)
DOME_ROWS, BRIM_ROWS = 24, 10
_DEG = torch.pi / 180


@dataclass(frozen=True)
class HatLook:
    """``kind`` of :data:`HAT_KINDS`; its edge is the plane through ``front_mm`` and ``back_mm`` (heights over the
    origin at forehead and back of the head); ``thickness_mm`` off the head, ``crown_mm`` more on top; ``brim_mm`` wide,
    falling by ``droop``; ``turn_deg`` of the cap's visor; ``rgb`` linear."""

    kind: str
    front_mm: float
    back_mm: float
    thickness_mm: float
    crown_mm: float
    brim_mm: float
    droop: float
    turn_deg: float
    rgb: tuple[float, float, float]

    @property
    def worn(self) -> bool:
        """Whether there is one."""
        return self.kind != "none"

    @property
    def hangs(self) -> bool:
        """Whether it covers the ears and falls on the shoulders."""
        return self.kind in ("headscarf", "hood")

    @property
    def hides_hair(self) -> bool:
        """Whether no hair is seen under it."""
        return self.hangs

    def edge(self, cap: Cap) -> Tensor:
        """(A,) mm: how far along the paths the edge is."""
        y, z = cap.hug_AS3[..., 1], cap.hug_AS3[..., 2]
        share = (z + 90) / 190
        return cap.crossing(y < self.back_mm + share * (self.front_mm - self.back_mm))


def draw_hat(rng: np.random.Generator, rgb: tuple[float, float, float]) -> HatLook:
    """A random hat, for one person in five; the distributions are described in docs/studio.md."""
    kind = str(rng.choice(HAT_KINDS, p=_P))
    front, back = rng.uniform(66, 92), rng.uniform(0, 45)
    thickness, crown, brim = {
        "none": (5.0, 0.0, 0.0),
        "beanie": (rng.uniform(5, 9), rng.uniform(0, 26), 0.0),
        "cap": (rng.uniform(6, 9), rng.uniform(4, 16), rng.uniform(52, 75)),
        "brim": (rng.uniform(6, 10), rng.uniform(12, 34), rng.uniform(30, 80)),
        "headscarf": (rng.uniform(6, 11), rng.uniform(0, 6), 0.0),
        "hood": (rng.uniform(14, 24), rng.uniform(0, 14), 0.0),
    }[kind]
    backwards = kind == "cap" and rng.uniform() < 0.2
    return HatLook(
        kind=kind,
        front_mm=front,
        back_mm=back,
        thickness_mm=thickness,
        crown_mm=crown,
        brim_mm=brim,
        droop=rng.uniform(-0.1, 0.45),
        turn_deg=180.0 if backwards else float(rng.normal(0, 6)),
        rgb=rgb,
    )


class HasHat(HasGrain, Protocol):
    """What is needed to know of a look with a hat."""

    @property
    def hat(self) -> HatLook:
        """Its hat."""


class Hat:
    """A :class:`data_prep.studio.looks.wardrobe.Garment`."""

    moves = False

    def __init__(self, cap: Cap) -> None:
        self._cap = cap
        device = cap.hug_AS3.device
        rows = DOME_ROWS + BRIM_ROWS
        self.faces_T3 = mesh.grid_faces(AZIMUTHS, rows).to(device)
        self.part_T = torch.full((len(self.faces_T3),), 2, device=device)
        s = torch.linspace(0, 1, DOME_ROWS, device=device)
        self._s = torch.cat([s, torch.ones(BRIM_ROWS, device=device)]).expand(AZIMUTHS, -1)
        # Outwards along the brim and back under it.
        self._out = torch.cat([0 * s, torch.linspace(0.2, 1, 5, device=device), torch.linspace(1, 0, 5, device=device)])
        under = torch.cat([0 * s, torch.zeros(5, device=device), torch.tensor([1.0, 1, 1, 1, 3], device=device)])
        self._under = under
        self.rest_N3 = cap.points(self._s * 110, 0 * self._s, torch.zeros(AZIMUTHS, device=device)).flatten(0, 1)
        self.anchor_N = cap.anchors_ASK[:, :28, 0][:, (self._s[0] * 27).long()].flatten()

    def worn(self, look: HasHat) -> Tensor:
        """Mask (T,) bool."""
        return torch.full((len(self.faces_T3),), look.hat.worn, device=self.faces_T3.device)

    def shape(self, look: HasHat, moved_H3: Tensor) -> Tensor:
        """(N, 3) mm."""
        hat, cap = look.hat, self._cap
        lattice = look.lattice_LLL.to(cap.hug_AS3)
        turn = torch.atan2(cap.azimuth_A.sin(), cap.azimuth_A.cos())
        edge = hat.edge(cap)
        hang = torch.zeros_like(turn)
        if hat.hangs:
            hang = smoothstep(turn.abs(), 50 * _DEG, 68 * _DEG)
            edge = edge + hang * 200
        along = self._s * edge[:, None]
        at = cap.points(along, 0 * along, hang)
        top = smoothstep(at[..., 1], 75, 140)
        folds = value_noise((at / 22).flatten(0, 1), lattice, octaves=2).view_as(along)
        lift = hat.thickness_mm + hat.crown_mm * top + (0.4 + 0.5 * (hat.kind != "cap")) * folds
        if hat.kind == "beanie":
            lift = lift + 3.5 * smoothstep(along - edge[:, None], -36, -32)
        if hat.hangs:
            ear = torch.exp(-((at[..., 1] - 15) / 38).square()) * torch.exp(-(at[..., 2] / 45).square())
            lift = lift + 9 * ear + 2.5 * folds * smoothstep(along, 90, 160)
        lift = lift - self._under * (3.0 if hat.brim_mm == 0 else 1.6)
        points = cap.points(along, lift, hang, moved_H3)
        if hat.brim_mm:
            ahead = turn - hat.turn_deg * _DEG
            ahead = torch.atan2(ahead.sin(), ahead.cos())
            if hat.kind == "cap":
                wide = hat.brim_mm * smoothstep(ahead.cos(), 0.35, 0.95)
            else:
                wide = torch.full_like(turn, hat.brim_mm)
            away = F.normalize(at - at.new_tensor(CENTRE_MM), dim=2) * at.new_tensor([1.0, 0.0, 1.0])
            away = F.normalize(away, dim=2)
            # A visor curves down at its sides.
            fall = hat.droop + (0.35 * ahead.sin().square() if hat.kind == "cap" else 0 * ahead)
            away = away - fall[:, None, None] * away.new_tensor([0.0, 1.0, 0.0])
            points = points + (self._out * wide[:, None])[..., None] * away
        return points.flatten(0, 1)

    def strands(self, look: HasHat) -> Tensor:
        """(N, 4): see :class:`data_prep.studio.looks.wardrobe.Garment`."""
        knit = 1.5 if look.hat.kind == "beanie" else 9.0
        light = torch.where(self._under > 0, 0.45, 1.0).expand(AZIMUTHS, -1).reshape(-1, 1)
        return torch.cat([self.rest_N3 / self.rest_N3.new_tensor([knit, 6 * knit, knit]), light], 1)
