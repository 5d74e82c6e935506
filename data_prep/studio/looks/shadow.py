"""Soft shadows of the head on itself, by precomputed transfer on the mean head (after Sloan et al. 2002,
"Precomputed radiance transfer").

For a fixed set of directions in head space it is measured once which vertices of the mean head see past the rest of the
head. The shadow of a light is then the share of its cosine-weighted power that arrives; a lamp counts as a soft lobe of
directions, so its shadows are soft too. Expressions move the shadows along with the skin but do not change them.

Shapes: V vertices, D directions, L lights, B directions rendered at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.geometry import project, vertex_normals
from jdap.shape.rasterise import rasterise

DIRECTIONS = 96
#: A lamp's lobe is exp(LOBE (cos − 1)): about 24 degrees wide, a little more than the directions are apart.
LOBE = 12.0
#: Shadow maps: side in pixels, span in mm, distance of the camera, and how far behind the map still counts as seen.
_SIDE, _SPAN_MM, _DISTANCE_MM, _BIAS_MM = 112, 480.0, 30_000.0, 4.0
_BATCH = 8
#: Light that reaches a point in shadow after all, scattered by the skin around it.
BOUNCE = 0.22


@dataclass(frozen=True, eq=False)
class OpenSky:
    """``directions_D3``: unit vectors in head space; ``open_VD``: cosine to the vertex's normal where it sees past the
    head, else 0; ``full_VD``: the cosine alone (0 behind the vertex)."""

    directions_D3: Tensor
    open_VD: Tensor
    full_VD: Tensor

    def shadow(self, radiance_DL: Tensor) -> Tensor:
        """(V, L) in BOUNCE … 1: the share of each light that arrives, for lights of radiance (D, L) in head space."""
        floor = 1e-3 * radiance_DL.mean(0)
        share = (self.open_VD @ radiance_DL + floor) / (self.full_VD @ radiance_DL + floor)
        return BOUNCE + (1 - BOUNCE) * share.clamp(0, 1)

    def lobes(self, lamps_L3: Tensor) -> Tensor:
        """(D, L) radiance of lamps in these head-space directions."""
        return torch.exp(LOBE * (self.directions_D3 @ lamps_L3.T - 1))


def measure_transfer(rest_V3: Tensor, faces_T3: Tensor, occluders_T: Tensor, directions: int = DIRECTIONS) -> OpenSky:
    """Measure the transfer of a mesh; only the triangles of the mask ``occluders_T`` cast shadows."""
    towards = fibonacci_sphere(directions).to(rest_V3)
    middle = (rest_V3[faces_T3[occluders_T]].amin((0, 1)) + rest_V3[faces_T3[occluders_T]].amax((0, 1))) / 2
    middle[1] = middle[1].clamp_min(0)  # the head matters, the chest may leave the map
    camera = rest_V3.new_tensor([[_SIDE / _SPAN_MM * _DISTANCE_MM, _SIDE / 2, _SIDE / 2]])
    seen = []
    for some in towards.split(_BATCH):
        vertices = _seen_from(rest_V3 - middle, some)
        cameras = camera.expand(len(some), 3)
        fragments = rasterise(vertices, faces_T3[occluders_T], cameras, _SIDE, _SIDE, cull_back_faces=True)
        depth = fragments.depth_mm
        # The farthest of the neighbouring pixels: at the map's resolution a slope must not shadow itself.
        depth = F.max_pool2d(torch.where(depth > 0, depth, depth.new_tensor(2 * _DISTANCE_MM))[:, None], 3, 1, 1)
        at = project(vertices, cameras) / _SIDE * 2 - 1
        behind = F.grid_sample(depth, at[:, None], mode="nearest", padding_mode="border", align_corners=False)[:, 0, 0]
        seen.append(vertices[..., 2] <= behind + _BIAS_MM)
    full = (vertex_normals(rest_V3[None], faces_T3)[0] @ towards.T).clamp_min(0)
    return OpenSky(towards, full * torch.cat(seen).T, full)


def fibonacci_sphere(count: int) -> Tensor:
    """(count, 3) evenly spread unit vectors."""
    i = np.arange(count) + 0.5
    height, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - height**2)
    return torch.tensor(np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], 1), dtype=torch.float32)


def _seen_from(vertices_V3: Tensor, towards_B3: Tensor) -> Tensor:
    """(B, V, 3) camera space of viewers far away in these head-space directions."""
    forward = -towards_B3
    helper = torch.where(
        forward[:, 1:2].abs() < 0.9, forward.new_tensor([[0.0, 1.0, 0.0]]), forward.new_tensor([[1.0, 0.0, 0.0]])
    )
    right = F.normalize(torch.linalg.cross(helper, forward), dim=1)
    down = torch.linalg.cross(forward, right)
    view = torch.stack([right, down, forward], 1)
    return vertices_V3 @ view.transpose(1, 2) + view.new_tensor([0.0, 0.0, _DISTANCE_MM])
