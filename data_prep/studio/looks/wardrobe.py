"""What a head wears: garments of fixed topology that are shaped by a look, anchored to the head and follow it.

Shapes: H vertices of the head, W of the wardrobe (all garments), N of one garment, T triangles, A anchors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from data_prep.head.model import PART_NAMES
from data_prep.studio.looks.beard import Beard
from data_prep.studio.looks.cap import measure_cap
from data_prep.studio.looks.glasses import Glasses
from data_prep.studio.looks.hair import Hair
from data_prep.studio.looks.hats import Hat
from data_prep.studio.looks.person import PersonLook
from data_prep.studio.looks.regions import HeadRegions
from data_prep.studio.looks.trim import Collar, Earrings

#: The wardrobe's own parts, none of which is skin.
WARDROBE_PARTS = ("hair", "beard", "hat", "frame", "lens", "cloth", "jewel")


class Garment(Protocol):
    """One thing to wear.

    * ``rest_N3``: where its vertices are at home on the mean head, mm; ``faces_T3`` its triangles, ``part_T`` index
      into :data:`WARDROBE_PARTS`
    * ``anchor_N``: the vertex of the head that each is nearest to: it is shadowed as that one
    * ``moves``: whether it follows that vertex's expressions
    """

    rest_N3: Tensor
    faces_T3: Tensor
    part_T: Tensor
    anchor_N: Tensor
    moves: bool

    def worn(self, look: PersonLook) -> Tensor:
        """Mask (T,) bool of the triangles that a look has."""

    def shape(self, look: PersonLook, moved_H3: Tensor) -> Tensor:
        """(N, 3) mm: the vertices on a head that differs from the mean head by ``moved_H3``."""

    def strands(self, look: PersonLook) -> Tensor:
        """(N, 4): coordinates in which its grain is even, and how much of the ambient light reaches it, 0 … 1."""


@dataclass(frozen=True, eq=False)
class Wardrobe:
    """All garments as one mesh; ``moves_W`` is 1 where ``anchor_W``'s expressions are followed, else 0."""

    garments: tuple[Garment, ...]
    head_H3: Tensor
    rest_W3: Tensor
    faces_T3: Tensor
    part_T: Tensor
    anchor_W: Tensor
    moves_W: Tensor

    def worn(self, look: PersonLook) -> Tensor:
        """Mask (T,) bool of the triangles that a look has."""
        return torch.cat([g.worn(look) for g in self.garments])

    def fit(self, look: PersonLook, head_H3: Tensor) -> Tensor:
        """(W, 3) mm: the garments on a head (H, 3)."""
        moved = head_H3 - self.head_H3
        # What nobody sees stays where it is at home.
        return torch.cat([g.shape(look, moved) if g.worn(look).any() else g.rest_N3 for g in self.garments])

    def strands(self, look: PersonLook) -> Tensor:
        """(W, 4): as :meth:`Garment.strands`."""
        blank = self.rest_W3.new_zeros
        return torch.cat([g.strands(look) if g.worn(look).any() else blank(len(g.rest_N3), 4) for g in self.garments])


def make_wardrobe(rest_H3: Tensor, faces_T3: Tensor, part_T: Tensor, regions: HeadRegions) -> Wardrobe:
    """Build all garments round the mean head ``rest_H3``, whose triangles are of ``part_T`` of the model."""
    cap = measure_cap(rest_H3, faces_T3, part_T, regions)
    x, y, z = rest_H3.unbind(1)
    face = torch.zeros_like(x, dtype=torch.bool)
    face[faces_T3[part_T == PART_NAMES.index("face")].flatten()] = True
    front = (face & (z > 70) & (y > -20) & (y < 75)).nonzero()[:, 0]
    garments: tuple[Garment, ...] = (
        Hair(cap),
        Beard(rest_H3, faces_T3, part_T, regions),
        Hat(cap),
        Glasses(rest_H3, front),
        Collar(cap, rest_H3),
        Earrings(rest_H3),
    )
    faces, start = [], 0
    for garment in garments:
        faces.append(garment.faces_T3 + start)
        start += len(garment.rest_N3)
    return Wardrobe(
        garments=garments,
        head_H3=rest_H3,
        rest_W3=torch.cat([g.rest_N3 for g in garments]),
        faces_T3=torch.cat(faces),
        part_T=torch.cat([g.part_T for g in garments]),
        anchor_W=torch.cat([g.anchor_N for g in garments]),
        moves_W=torch.cat([torch.full_like(g.rest_N3[:, 0], float(g.moves)) for g in garments]),
    )
