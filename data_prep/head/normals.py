"""Vertex normals of meshes that share their triangles, many at a time.

The same as :func:`jdap.geometry.vertex_normals`, with the list of each vertex's triangles made once: sums then run in
a fixed order, so they do not depend on the batch and are the same from run to run on a GPU too.

Shapes: F meshes, V vertices, T triangles.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class VertexNormals:
    """Area-weighted unit normals for the triangles ``faces_T3`` (T, 3) int64 of ``vertices`` vertices."""

    def __init__(self, faces_T3: Tensor, vertices: int) -> None:
        self._corners = [faces_T3[:, i].contiguous() for i in range(3)]
        owner, place = faces_T3.flatten().sort(stable=True)
        self._triangles = torch.div(place, 3, rounding_mode="floor")
        self._offsets = torch.searchsorted(owner, torch.arange(vertices, device=faces_T3.device))

    def __call__(self, vertices_FV3: Tensor) -> Tensor:
        """(F, V, 3) unit normals; 0 for a vertex of no triangle. A triangle is counter-clockwise seen from outside."""
        # One row a vertex holds all meshes: it is gathered in one piece.
        rows = vertices_FV3.permute(2, 1, 0).contiguous()
        a, b, c = (rows.index_select(1, corner) for corner in self._corners)
        (x, y, z), (p, q, r) = b - a, c - a
        cross = torch.stack([y * r - z * q, z * p - x * r, x * q - y * p], 1).flatten(1)
        total = F.embedding_bag(self._triangles, cross, self._offsets, mode="sum")
        total = total.unflatten(1, (3, -1)).permute(2, 0, 1)
        length = (total[..., 0].square() + total[..., 1].square() + total[..., 2].square()).sqrt()
        return total / length.clamp_min(1e-12)[..., None]
