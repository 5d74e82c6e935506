"""The mesh that the studio draws: the drawn triangles of the head model on few vertices, continued below the shoulders.

Shapes: V vertices, T triangles, K identity modes, E expressions, R rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from data_prep.looks.regions import LIP_BOTTOM, LIP_TOP, HeadRegions, find_regions
from data_prep.morphable import PART_NAMES, MorphableModel

#: The model ends in an open cut through the chest; rings of vertices carry on from its edge: (down, outward) in mm.
SKIRT_MM = ((0.0, 30.0, 12.0), (0.0, 120.0, 35.0), (0.0, 420.0, 60.0))


@dataclass(frozen=True, eq=False)
class Bust:
    """The studio's mesh.

    * ``model``: the head model; ``source_V`` the vertex of it that each vertex here is (for those of the skirt,
      that above it)
    * ``rest_V3`` the mean head, mm; ``skirt_mm_V3`` what is added to a vertex of the skirt, 0 elsewhere
    * ``expression_EX`` (E, 3 V): expression offsets
    * ``faces_T3``, ``part_T`` (index into ``PART_NAMES``), ``skin_T`` (the model's skin)
    * ``regions``: of these vertices; ``lips``: positions of the middle of the upper and lower lip's inner edge
      among them
    """

    model: MorphableModel
    source_V: Tensor
    rest_V3: Tensor
    skirt_mm_V3: Tensor
    expression_EX: Tensor
    faces_T3: Tensor
    part_T: Tensor
    skin_T: Tensor
    regions: HeadRegions
    lips: tuple[int, int]

    def neutral(self, identity_K: Tensor) -> Tensor:
        """(V, 3) head-space mm: this identity without expression."""
        none = identity_K.new_zeros(1, len(self.model.expression_names))
        return self.model.vertices(identity_K[None], none)[0, self.source_V] + self.skirt_mm_V3

    def pose(self, neutral_V3: Tensor, expression_E: Tensor) -> Tensor:
        """(V, 3) head-space mm: a neutral head with an expression."""
        return neutral_V3 + (expression_E @ self.expression_EX).view(-1, 3)

    def part(self, *names: str) -> Tensor:
        """Mask (T,) bool of the triangles of these parts."""
        return torch.isin(self.part_T, torch.tensor([PART_NAMES.index(n) for n in names], device=self.part_T.device))


def make_bust(model: MorphableModel) -> Bust:
    """Build the mesh. The model's irises lie inside its opaque eyeballs, which are painted: they are left out."""
    drawn = model.subset(model.drawn_T & ~model.part("iris"))
    source, faces = drawn.faces_T3.unique(return_inverse=True)
    rest = model.mean_V3[source]
    edge = _open_edge(faces[torch.isin(drawn.face_part_T, _parts("face", "head_neck").to(model.device))], rest)
    loop, ends = edge.unique(return_inverse=True)
    outward = rest[loop] - rest[loop].mean(0)
    outward[:, 1] = 0
    outward = outward / outward.norm(dim=1, keepdim=True).clamp_min(1e-6)
    rings = [outward * out - outward.new_tensor([x, down, 0.0]) for x, down, out in SKIRT_MM]
    above = [torch.arange(len(loop), device=loop.device) * 0 + loop] + [
        len(source) + i * len(loop) + torch.arange(len(loop), device=loop.device) for i in range(len(rings))
    ]
    strips = []
    for high, low in pairwise(above):
        a, b = ends[:, 0], ends[:, 1]
        # The edge runs as its triangle does, so the neighbour below runs against it.
        strips += [torch.stack([high[b], high[a], low[a]], 1), torch.stack([high[b], low[a], low[b]], 1)]
    skirt = torch.cat(strips)
    whole = torch.cat([source, source[loop].repeat(len(rings))])
    offset = torch.cat([torch.zeros_like(rest), *rings])
    part = torch.full((len(skirt),), PART_NAMES.index("head_neck"), device=faces.device)
    places = {int(v): i for i, v in enumerate(source.tolist())}
    return Bust(
        model=model,
        source_V=whole,
        rest_V3=model.mean_V3[whole] + offset,
        skirt_mm_V3=offset,
        expression_EX=model.expression_EV3[:, whole].flatten(1).contiguous(),
        faces_T3=torch.cat([faces, skirt]),
        part_T=torch.cat([drawn.face_part_T, part]),
        skin_T=torch.cat([drawn.skin_T, torch.zeros_like(part, dtype=torch.bool)]),
        regions=find_regions(model).take(whole),
        lips=(places[LIP_TOP], places[LIP_BOTTOM]),
    )


def _parts(*names: str) -> Tensor:
    return torch.tensor([PART_NAMES.index(name) for name in names])


def _open_edge(faces_T3: Tensor, rest_V3: Tensor) -> Tensor:
    """(N, 2) directed edges of only one triangle, below the chin: the rim of the cut through the chest."""
    directed = torch.cat([faces_T3[:, [0, 1]], faces_T3[:, [1, 2]], faces_T3[:, [2, 0]]])
    _, inverse, count = directed.sort(1).values.unique(dim=0, return_inverse=True, return_counts=True)
    rim = directed[count[inverse] == 1]
    return rim[(rest_V3[rim][..., 1] < -100).all(1)]
