"""Triangles of simple surfaces, counter-clockwise seen from outside.

Shapes: T triangles.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def grid_faces(columns: int, rows: int, *, closed: bool = False) -> Tensor:
    """(T, 3) int64 of a grid of ``columns`` that go round (the last joins the first) and ``rows``, numbered column by
    column; ``closed``: the last row joins the first as well. Seen from outside, columns run to the right and rows
    down."""
    row = torch.arange(rows if closed else rows - 1)
    column = torch.arange(columns)
    a = column[:, None] * rows + row
    b = (column[:, None] + 1) % columns * rows + row
    below = (row + 1) % rows - row
    quads = torch.stack([a, a + below, b + below, b], 2).view(-1, 4)
    return torch.cat([quads[:, :3], quads[:, [0, 2, 3]]])


def tube_faces(points: int, sides: int, *, closed: bool) -> Tensor:
    """(T, 3) int64 of a tube round a curve of ``points``, numbered point by point; ``closed``: a ring."""
    faces = grid_faces(points, sides, closed=True).flip(1)
    if closed:
        return faces
    return faces[(faces.amax(1) - faces.amin(1)) < 2 * sides]


def tube_points(curve_P3: Tensor, radius_mm: Tensor | float, sides: int, up: tuple[float, float, float]) -> Tensor:
    """(P · sides, 3): rings of ``sides`` points round a curve, whose plane is about normal to ``up``."""
    along = torch.nn.functional.normalize(curve_P3.roll(-1, 0) - curve_P3.roll(1, 0), dim=1)
    along[[0, -1]] = torch.nn.functional.normalize(
        torch.stack([curve_P3[1] - curve_P3[0], curve_P3[-1] - curve_P3[-2]]), dim=1
    )
    normal = curve_P3.new_tensor(up).expand(len(curve_P3), 3)
    side = torch.nn.functional.normalize(torch.linalg.cross(along, normal), dim=1)
    normal = torch.linalg.cross(side, along)
    turn = torch.arange(sides, device=curve_P3.device) * (2 * math.pi / sides) + math.pi / sides
    ring = turn.cos()[:, None] * side[:, None] + turn.sin()[:, None] * normal[:, None]
    return (curve_P3[:, None] + radius_mm * ring).flatten(0, 1)


def sphere(columns: int, rows: int) -> tuple[Tensor, Tensor]:
    """Unit sphere: vertices (columns · rows, 3), rows from the top down, and triangles (T, 3)."""
    turn = torch.arange(columns) * (2 * math.pi / columns)
    polar = torch.linspace(0.02, math.pi - 0.02, rows)
    flat = polar.sin()
    x, z = turn.sin()[:, None] * flat, turn.cos()[:, None] * flat
    return torch.stack([x, polar.cos().expand(columns, -1), z], 2).flatten(0, 1), grid_faces(columns, rows)
