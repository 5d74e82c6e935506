"""The mesh that the studio draws: the drawn triangles of the head model on few vertices, continued below the shoulders,
and the wardrobe, of which each person wears some.

Shapes: V vertices, of which the first H are the head's and its skirt's, W the wardrobe's; T triangles, K identity
modes, E expressions, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.head.model import PART_NAMES, MorphableModel
from data_prep.head.normals import VertexNormals
from data_prep.studio.looks.person import Paint, PersonLook, paint
from data_prep.studio.looks.regions import LIP_BOTTOM, LIP_TOP, HeadRegions, find_regions
from data_prep.studio.looks.wardrobe import WARDROBE_PARTS, Wardrobe, make_wardrobe

#: Names of all parts, the head model's and the wardrobe's: what ``Bust.part_T`` indexes.
BUST_PARTS: tuple[str, ...] = (*PART_NAMES, *WARDROBE_PARTS)
#: The model ends in an open cut through the chest; rings of vertices carry on from its edge: (down, outward) in mm.
SKIRT_MM = ((0.0, 30.0, 12.0), (0.0, 120.0, 35.0), (0.0, 420.0, 60.0))


@dataclass(frozen=True, eq=False)
class Bust:
    """The studio's mesh. Its topology is fixed; a person wears some of the triangles (:meth:`dress`).

    * ``model``: the head model; ``source_H`` the vertex of it that each vertex of the head is (for those of the
      skirt, that above it); ``wardrobe``: hair, hats, glasses …
    * ``rest_V3`` the mean head, mm, with the wardrobe where it is anchored; ``skirt_mm_H3`` what is added to a vertex
      of the skirt, 0 elsewhere
    * ``anchor_V``: the vertex of the head (below H) that each vertex is or follows
    * ``expression_EX`` (E, 3 V): expression offsets
    * ``faces_T3``, ``part_T`` (index into :data:`BUST_PARTS`), ``skin_T`` (the model's skin), ``head_T`` (no wardrobe)
    * ``regions``: of the head's vertices; ``lips``: positions of the middle of the upper and lower lip's inner edge
      among them
    * ``eyes``: positions of the vertices of the right and the left eyeball
    * ``head_normals``: vertex normals of heads (F, H, 3) without wardrobe
    """

    model: MorphableModel
    wardrobe: Wardrobe
    source_H: Tensor
    rest_V3: Tensor
    skirt_mm_H3: Tensor
    anchor_V: Tensor
    expression_EX: Tensor
    faces_T3: Tensor
    part_T: Tensor
    skin_T: Tensor
    head_T: Tensor
    regions: HeadRegions
    lips: tuple[int, int]
    eyes: tuple[Tensor, Tensor]
    head_normals: VertexNormals

    def dress(self, look: PersonLook) -> Tensor:
        """Mask (T,) bool of the triangles that this person has: the head's, and what they wear."""
        return torch.cat([self.head_T[self.head_T], self.wardrobe.worn(look)])

    def paint(self, look: PersonLook) -> Paint:
        """The head in the colours of a look."""
        return paint(look, self.regions, self.rest_V3[: len(self.source_H)])

    def neutral(self, identity_K: Tensor, look: PersonLook, painted: Paint | None = None) -> Tensor:
        """(V, 3) head-space mm: this identity without expression, its hair and clothes fitted to it.

        ``painted``: :meth:`paint` of the look, where it is known already.
        """
        none = identity_K.new_zeros(1, len(self.model.expression_names))
        head = self.model.vertices(identity_K[None], none)[0, self.source_H] + self.skirt_mm_H3
        lift = (painted or self.paint(look)).lift_mm_V[:, None]
        outward = self.head_normals(head[None])[0]
        return torch.cat([head + lift * outward, self.wardrobe.fit(look, head)])

    def pose(self, neutral_V3: Tensor, expression_FE: Tensor, gaze_F23: Tensor) -> Tensor:
        """(F, V, 3) head-space mm: a neutral head with expressions, its eyeballs turned.

        ``gaze_F23``: unit vectors from the right and the left eyeball, in head space.
        """
        # Few coefficients are not 0; and a sum of rows, unlike a product, does not round by the number of frames.
        frame, active = expression_FE.nonzero(as_tuple=True)
        starts = torch.searchsorted(frame, torch.arange(len(expression_FE), device=frame.device))
        weights = expression_FE[frame, active]
        moved = F.embedding_bag(active, self.expression_EX, starts, mode="sum", per_sample_weights=weights)
        posed = neutral_V3 + moved.unflatten(1, (-1, 3))
        for side, ball in enumerate(self.eyes):
            # The mean head's centre, moved as this identity moves the ball on average.
            centre = self.regions.eyeball_mm[side] + (neutral_V3[ball] - self.rest_V3[ball]).mean(0)
            turn = turn_to(gaze_F23[:, side])
            posed[:, ball] = (neutral_V3[ball] - centre) @ turn.transpose(1, 2) + centre
        return posed

    def part(self, *names: str) -> Tensor:
        """Mask (T,) bool of the triangles of these parts."""
        return torch.isin(self.part_T, torch.tensor([BUST_PARTS.index(n) for n in names], device=self.part_T.device))


def turn_to(gaze_F3: Tensor) -> Tensor:
    """(F, 3, 3): the shortest rotations that take the z axis to these unit vectors (z above −1)."""
    x, y, z = gaze_F3.unbind(1)
    k = 1 / (1 + z)
    rows = [1 - k * x * x, -k * x * y, x, -k * x * y, 1 - k * y * y, y, -x, -y, z]
    return torch.stack(rows, 1).unflatten(1, (3, 3))


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
    head = model.mean_V3[whole] + offset
    head_faces, head_part = torch.cat([faces, skirt]), torch.cat([drawn.face_part_T, part])
    regions = find_regions(model).take(whole)
    wardrobe = make_wardrobe(head, head_faces, head_part, regions)
    anchor = torch.cat([torch.arange(len(head), device=head.device), wardrobe.anchor_W])
    expression = model.expression_EV3[:, whole]
    moves = expression[:, wardrobe.anchor_W] * wardrobe.moves_W[:, None]
    none = torch.zeros(len(skirt) + len(wardrobe.faces_T3), dtype=torch.bool, device=faces.device)
    count = torch.arange(len(head_faces) + len(wardrobe.faces_T3), device=faces.device)
    sclera = head_faces[head_part == PART_NAMES.index("sclera")].unique()
    return Bust(
        model=model,
        wardrobe=wardrobe,
        source_H=whole,
        rest_V3=torch.cat([head, wardrobe.rest_W3]),
        skirt_mm_H3=offset,
        anchor_V=anchor,
        expression_EX=torch.cat([expression, moves], 1).flatten(1).contiguous(),
        faces_T3=torch.cat([head_faces, wardrobe.faces_T3 + len(head)]),
        part_T=torch.cat([head_part, wardrobe.part_T + len(PART_NAMES)]),
        skin_T=torch.cat([drawn.skin_T, none]),
        head_T=count < len(head_faces),
        regions=regions,
        lips=(places[LIP_TOP], places[LIP_BOTTOM]),
        eyes=(sclera[head[sclera, 0] < 0], sclera[head[sclera, 0] > 0]),
        head_normals=VertexNormals(head_faces, len(head)),
    )


def _parts(*names: str) -> Tensor:
    return torch.tensor([PART_NAMES.index(name) for name in names])


def _open_edge(faces_T3: Tensor, rest_V3: Tensor) -> Tensor:
    """(N, 2) directed edges of only one triangle, below the chin: the rim of the cut through the chest."""
    directed = torch.cat([faces_T3[:, [0, 1]], faces_T3[:, [1, 2]], faces_T3[:, [2, 0]]])
    _, inverse, count = directed.sort(1).values.unique(dim=0, return_inverse=True, return_counts=True)
    rim = directed[count[inverse] == 1]
    return rim[(rest_V3[rim][..., 1] < -100).all(1)]
