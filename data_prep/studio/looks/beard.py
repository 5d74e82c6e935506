"""Beards and moustaches as volumes: the skin of cheeks, lip and chin once more, lifted where hair grows and pulled
under the skin where none does, so that it moves with every expression.

Shapes: H vertices of the head, N of the beard, T triangles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data_prep.head.model import PART_NAMES
from data_prep.studio.looks.noise import HasGrain, smoothstep, value_noise
from data_prep.studio.looks.regions import HeadRegions
from jdap.geometry import vertex_normals

#: Where nothing grows the shell lies this deep under the skin, mm.
_UNDER_MM = -2.5


@dataclass(frozen=True)
class BeardLook:
    """``stubble`` 0 … 1 painted on the skin; as a volume ``length_mm`` on cheeks and jaw, ``chin_mm`` more below the
    chin, ``moustache_mm`` on the lip (0: none); ``goatee``: on the chin alone; ``cheek_mm``: how far lower than usual
    the beard begins."""

    stubble: float
    length_mm: float
    chin_mm: float
    moustache_mm: float
    goatee: bool
    cheek_mm: float

    @property
    def volume(self) -> bool:
        """Whether any of it stands off the skin."""
        return max(self.length_mm, self.moustache_mm) > 0


NO_BEARD = BeardLook(0.0, 0.0, 0.0, 0.0, False, 0.0)


def draw_beard(rng: np.random.Generator) -> BeardLook:
    """None for 62 %, stubble for 20 %, a moustache 3 %, a goatee 4 %, a full beard 11 %."""
    kind = rng.choice(["none", "stubble", "moustache", "goatee", "full"], p=[0.62, 0.2, 0.03, 0.04, 0.11])
    shadow, cheek = rng.uniform(0.1, 0.9), rng.uniform(0, 10)
    long = rng.uniform() < 0.35
    if kind == "none":
        return NO_BEARD
    if kind == "stubble":
        return BeardLook(shadow, 0.0, 0.0, 0.0, False, cheek)
    lip = rng.uniform(2, 4.5)
    if kind == "moustache":
        return BeardLook(0.25 * shadow, 0.0, 0.0, lip, False, cheek)
    length = rng.uniform(3, 7)
    chin = rng.uniform(15, 60) if long else rng.uniform(0, 10)
    if kind == "goatee":
        return BeardLook(0.3 * shadow, length, 0.5 * chin, lip * float(rng.uniform() < 0.7), True, cheek)
    return BeardLook(0.95, length + 2, chin, lip * float(rng.uniform() < 0.85), False, cheek)


class HasBeard(HasGrain, Protocol):
    """What is needed to know of a look with a beard."""

    @property
    def beard(self) -> BeardLook:
        """Its beard."""


class Beard:
    """A :class:`data_prep.studio.looks.wardrobe.Garment`."""

    moves = True

    def __init__(self, head_H3: Tensor, faces_T3: Tensor, part_T: Tensor, regions: HeadRegions) -> None:
        near = torch.maximum(regions.beard, regions.moustache) > 0.01
        chosen = (part_T == PART_NAMES.index("face")) & near[faces_T3].any(1)
        self.anchor_N, faces = faces_T3[chosen].unique(return_inverse=True)
        self.faces_T3 = faces
        self.part_T = torch.ones(len(faces), dtype=torch.long, device=faces.device)
        self.rest_N3 = head_H3[self.anchor_N]
        self._outward = vertex_normals(head_H3[None], faces_T3)[0][self.anchor_N]
        self._beard, self._lip = regions.beard[self.anchor_N], regions.moustache[self.anchor_N]
        self._lips = regions.lips[self.anchor_N]

    def worn(self, look: HasBeard) -> Tensor:
        """Mask (T,) bool."""
        return torch.full((len(self.faces_T3),), look.beard.volume, device=self.faces_T3.device)

    def _height(self, look: HasBeard) -> tuple[Tensor, Tensor]:
        """(N,) mm off the skin, and how much of it (N,) hangs from the chin."""
        beard, rest = look.beard, self.rest_N3
        lattice = look.lattice_LLL.to(rest)
        ragged = 0.18 * value_noise(rest / 7 + 4.4, lattice, octaves=2)
        where = smoothstep(self._beard + ragged - beard.cheek_mm / 30, 0.25, 0.85)
        chin = torch.exp(-(rest[:, 0] / 26).square()) * smoothstep(-rest[:, 1], 48, 66) * smoothstep(rest[:, 2], 62, 88)
        if beard.goatee:
            where = where * torch.exp(-(rest[:, 0] / 24).square()) * smoothstep(rest[:, 2], 75, 95)
        lip = smoothstep(self._lip + 0.3 * ragged, 0.18, 0.6)
        clear = 1 - smoothstep(self._lips, 0.0, 0.35)
        grain = 1 + 0.22 * value_noise(rest / 3.3, lattice, octaves=2)
        height = torch.maximum(where * beard.length_mm, lip * beard.moustache_mm) * grain * clear
        any_hair = torch.maximum(where * float(beard.length_mm > 0), lip * float(beard.moustache_mm > 0)) * clear
        return height + (1 - any_hair) * _UNDER_MM, chin * where * clear

    def shape(self, look: HasBeard, moved_H3: Tensor) -> Tensor:
        """(N, 3) mm."""
        height, chin = self._height(look)
        down = self.rest_N3.new_tensor([0.0, -0.9, 0.25])
        fall = chin[:, None] * look.beard.chin_mm * down
        return self.rest_N3 + moved_H3[self.anchor_N] + height[:, None] * self._outward + fall

    def strands(self, look: HasBeard) -> Tensor:
        """(N, 4): see :class:`data_prep.studio.looks.wardrobe.Garment`."""
        height, _ = self._height(look)
        grain = self.rest_N3.new_tensor([1.5, 5.0, 1.5])
        light = 0.65 + 0.35 * smoothstep(height, 0, max(1.0, look.beard.length_mm))
        return torch.cat([self.rest_N3 / grain, light[:, None]], 1)
