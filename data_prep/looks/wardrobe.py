"""What a head wears: garments of fixed topology that are shaped by a look, anchored to the head and follow it.

Shapes: H vertices of the head, W of the wardrobe (all garments), N of one garment, T triangles, A anchors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from data_prep.looks.person import PersonLook
from data_prep.looks.regions import HeadRegions

#: The wardrobe's own parts, none of which is skin.
WARDROBE_PARTS = ("hair", "beard", "hat", "frame", "lens", "cloth", "jewel")


class Garment(Protocol):
    """One thing to wear.

    * ``rest_N3``: where its vertices are at home on the mean head, mm; ``faces_T3`` its triangles, ``part_T`` index
      into :data:`WARDROBE_PARTS`
    * ``anchors_NA`` (vertices of the head) and ``weights_NA`` (sum 1): whose displacement a vertex follows from one
      identity to another
    * ``moves``: whether it follows expressions too
    """

    rest_N3: Tensor
    faces_T3: Tensor
    part_T: Tensor
    anchors_NA: Tensor
    weights_NA: Tensor
    moves: bool

    def worn(self, look: PersonLook) -> Tensor:
        """Mask (T,) bool of the triangles that a look has."""

    def shape(self, look: PersonLook) -> Tensor:
        """(N, 3) mm: the vertices on the mean head."""

    def strands(self, look: PersonLook) -> Tensor:
        """(N, 4): coordinates in which its grain is even, and how much of the ambient light reaches it, 0 … 1."""


@dataclass(frozen=True, eq=False)
class Wardrobe:
    """All garments as one mesh; ``anchor_W`` is each vertex's nearest anchor, ``moves_W`` 1 where it follows
    expressions, else 0."""

    garments: tuple[Garment, ...]
    head_H3: Tensor
    rest_W3: Tensor
    faces_T3: Tensor
    part_T: Tensor
    anchor_W: Tensor
    moves_W: Tensor

    def worn(self, look: PersonLook) -> Tensor:
        """Mask (T,) bool of the triangles that a look has."""
        return torch.cat([g.worn(look) for g in self.garments]) if self.garments else self.part_T.bool()

    def fit(self, look: PersonLook, head_H3: Tensor) -> Tensor:
        """(W, 3) mm: the garments on a head (H, 3), each vertex moved as its anchors are."""
        moved = head_H3 - self.head_H3
        fitted = [g.shape(look) + (moved[g.anchors_NA] * g.weights_NA[..., None]).sum(1) for g in self.garments]
        return torch.cat(fitted) if fitted else self.rest_W3

    def strands(self, look: PersonLook) -> Tensor:
        """(W, 4): as :meth:`Garment.strands`."""
        return torch.cat([g.strands(look) for g in self.garments]) if self.garments else self.rest_W3.new_zeros(0, 4)


def make_wardrobe(rest_H3: Tensor, faces_T3: Tensor, part_T: Tensor, regions: HeadRegions) -> Wardrobe:
    """Build all garments round the mean head ``rest_H3``, whose triangles are of ``part_T`` of the model."""
    garments: tuple[Garment, ...] = ()
    rest, faces, parts, anchors, moves = [rest_H3[:0]], [faces_T3[:0]], [part_T[:0]], [part_T[:0]], [rest_H3[:0, 0]]
    for garment in garments:
        faces.append(garment.faces_T3 + sum(map(len, rest)))
        rest.append(garment.rest_N3)
        parts.append(garment.part_T)
        nearest = garment.weights_NA.argmax(1, keepdim=True)
        anchors.append(garment.anchors_NA.gather(1, nearest)[:, 0])
        moves.append(torch.full_like(garment.rest_N3[:, 0], float(garment.moves)))
    return Wardrobe(garments, rest_H3, *(torch.cat(x) for x in (rest, faces, parts, anchors, moves)))
