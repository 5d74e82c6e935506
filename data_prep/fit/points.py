"""The landmarks' points on the head as a linear model, and which of them slide or belong together.

Shapes: N landmarks, D pairs, K identity modes, E expressions, C = K + E.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_prep.head.landmarks import FACE_OVAL, Correspondence
from data_prep.head.model import MorphableModel
from jdap.geometry import vertex_normals

#: Upper and lower rims of the eyes, facing each other, as mediapipe's landmarks …
LIDS = (
    *((160, 144), (159, 145), (158, 153), (161, 163), (157, 154)),
    *((387, 373), (386, 374), (385, 380), (388, 390), (384, 381)),
)
#: … and of the mouth's opening: upper and lower inner lip.
LIPS = ((82, 87), (13, 14), (312, 317), (81, 178), (311, 402))


@dataclass(frozen=True, eq=False)
class HeadPoints:
    """``mean_N3`` mm and ``basis_N3C`` mm per unit, the first ``modes`` columns identity, the rest expressions.

    * ``tangents_N23``: unit tangents of the face oval's points, head axes: along the contour, across it; 0 for others
    * ``pairs_D2`` int64: landmarks whose difference counts (eyelids, lips)
    """

    mean_N3: Tensor
    basis_N3C: Tensor
    modes: int
    tangents_N23: Tensor
    pairs_D2: Tensor

    @classmethod
    def of(cls, model: MorphableModel, correspondence: Correspondence, modes: int) -> HeadPoints:
        """The points of a model with its first ``modes`` identity modes (all, if it has fewer) and expressions."""
        modes = min(modes, len(model.identity_KV3))
        parts = (model.identity_KV3[:modes], model.expression_EV3)
        points = torch.cat([correspondence.points(part) for part in parts])
        mean_N3 = correspondence.points(model.mean_V3[None])[0]
        oval = list(FACE_OVAL)
        normal = vertex_normals(model.mean_V3[None], model.skin_faces())
        normal = torch.nn.functional.normalize(correspondence.points(normal)[0, oval], dim=-1)
        along = mean_N3[oval].roll(-1, 0) - mean_N3[oval].roll(1, 0)
        along = torch.nn.functional.normalize(along - (along * normal).sum(-1, keepdim=True) * normal, dim=-1)
        tangents = mean_N3.new_zeros(len(mean_N3), 2, 3)
        tangents[oval] = torch.stack([along, torch.linalg.cross(normal, along)], 1)
        pairs = torch.tensor([*LIDS, *LIPS], device=model.device)
        return cls(mean_N3, points.permute(1, 2, 0).contiguous(), modes, tangents, pairs)
