"""Exact z-buffer rasteriser in plain torch: batched, on CPU and CUDA by one path.

Every pixel centre inside a triangle's bounding box is tested against the triangle (edge functions in float64), and the
nearest triangle of each pixel is kept by one ``scatter_reduce(amin)`` over (depth bits << 32 | triangle): positive floats
sort as their bits do, so the smallest key is the nearest triangle, and equal depths go to the lowest triangle number.
The result is the same whatever the order of the work, the batch or the chunks.

Pixel (u, v) has its centre at (u + 0.5, v + 0.5), as in :mod:`jdap.geometry`. It belongs to a triangle when its centre is
inside or on an edge. The edge function of an edge is computed from its lexicographically smaller end, so that two
triangles that share an edge get exactly opposite values and no pixel falls through the seam.

Shapes: B pictures, V vertices, T triangles, H x W pixels, C channels, N candidate (triangle, pixel) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jdap.geometry import project

Z_NEAR_MM = 1.0
#: Candidate (triangle, pixel) pairs tested at a time; about 250 bytes each at the peak.
MAX_CANDIDATES = 1 << 21


@dataclass(frozen=True, eq=False)
class Fragments:
    """What each pixel sees.

    * ``depth_mm`` (B, H, W) float32: z-depth along the camera axis in millimetres, 0 = nothing
    * ``face`` (B, H, W) int64: row of ``faces_T3`` that is seen, -1 = nothing
    * ``barycentric`` (B, H, W, 3) float32: perspective-correct weights of that triangle's corners at the pixel's centre,
      non-negative with sum 1; zeros where nothing is seen
    """

    depth_mm: Tensor
    face: Tensor
    barycentric: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, H, W) bool: where something is seen."""
        return self.face >= 0


@torch.no_grad()
def rasterise(
    vertices_cam_BV3: Tensor,
    faces_T3: Tensor,
    camera_px_B3: Tensor,
    height: int,
    width: int,
    *,
    z_near_mm: float = Z_NEAR_MM,
    cull_back_faces: bool = False,
    max_candidates: int = MAX_CANDIDATES,
) -> Fragments:
    """Draw B meshes of shared triangles with a z-buffer.

    * ``vertices_cam_BV3`` (B, V, 3) float, camera space (x right, y down, z forward), millimetres
    * ``faces_T3`` (T, 3) int64, T < 2^31; counter-clockwise seen from outside where ``cull_back_faces`` is set
    * ``camera_px_B3`` (B, 3) float: focal length and principal point (f, cx, cy) in pixels
    * ``height``, ``width``: of the pictures, pixels
    * ``z_near_mm``: a triangle with any corner nearer than this is dropped whole, not clipped: heads are never cut by
      the camera plane, and a clipper would be code that nothing exercises
    * ``cull_back_faces``: leave out triangles that turn their back to the camera
    * ``max_candidates`` bounds memory: work is cut into pieces of at most this many (triangle, pixel) pairs, or one
      triangle's box where that is larger

    Not differentiable. Raises ValueError for shapes that do not fit and for non-finite vertices or cameras.
    """
    b = _check(vertices_cam_BV3, faces_T3, camera_px_B3, height, width)
    device = vertices_cam_BV3.device
    vertices = vertices_cam_BV3.double()
    z_BT3 = vertices[..., 2][:, faces_T3]
    # A vertex behind the camera projects to nonsense (or infinity), but its triangles are dropped before that is used.
    xy_BT32 = project(vertices, camera_px_B3.double())[:, faces_T3]

    # Pixel centres u + 0.5 within [low, high] have ceil(low - 0.5) <= u <= floor(high - 0.5).
    size = torch.tensor([width, height], dtype=torch.float64, device=device)
    low = (xy_BT32.amin(2) - 0.5).ceil().clamp_min(0)
    high = torch.minimum((xy_BT32.amax(2) - 0.5).floor(), size - 1)
    kept = (low <= high).all(-1) & (z_BT3 >= z_near_mm).all(-1)
    if cull_back_faces:
        # y points down, so what is counter-clockwise to the viewer has a negative area in (x, y).
        kept &= _edges(xy_BT32, xy_BT32[..., 0, :])[..., 0] < 0
    picture, triangle = kept.nonzero(as_tuple=True)
    low, high = low[kept].long(), high[kept].long()
    span = high - low + 1
    keys = torch.full((b * height * width,), torch.iinfo(torch.int64).max, device=device)
    for part in _chunks(span.prod(-1), max_candidates):
        # One row per candidate: its triangle (row of this part) and its pixel.
        count = span[part].prod(-1)
        row = torch.arange(len(count), device=device).repeat_interleave(count)
        nth = torch.arange(len(row), device=device) - (count.cumsum(0) - count)[row]
        across = span[part][row, 0]
        v = torch.div(nth, across, rounding_mode="floor")
        u = nth - v * across + low[part][row, 0]
        v = v + low[part][row, 1]
        corners = xy_BT32[picture[part], triangle[part]]
        edges = _edges(corners[row], torch.stack([u, v], -1) + 0.5)
        hit = ((edges >= 0).all(-1) | (edges <= 0).all(-1)) & (edges.sum(-1) != 0)
        row, edges = row[hit], edges[hit]
        z = _depth(edges, z_BT3[picture[part], triangle[part]][row])
        key = (z.float().view(torch.int32).long() << 32) | triangle[part][row]
        pixel = (picture[part][row] * height + v[hit]) * width + u[hit]
        keys.scatter_reduce_(0, pixel, key, "amin")
    return _resolve(keys.reshape(b, height, width), xy_BT32, z_BT3)


def interpolate(fragments: Fragments, faces_T3: Tensor, attributes_BVC: Tensor) -> Tensor:
    """Perspective-correct vertex attributes at every pixel; zeros where nothing is seen.

    ``faces_T3`` (T, 3) int64 are the triangles that were drawn, or another indexing of them, row by row (a mesh's texture
    coordinates have their own); ``attributes_BVC`` (B or 1, V, C) float → (B, H, W, C). Differentiable in the attributes.
    """
    attributes = attributes_BVC.expand(fragments.face.shape[0], -1, -1)
    seen = fragments.mask
    picture = seen.nonzero(as_tuple=True)[0]
    corners = attributes[picture[:, None], faces_T3[fragments.face[seen]]]
    values = (corners * fragments.barycentric[seen][..., None].to(corners.dtype)).sum(1)
    out = values.new_zeros(*seen.shape, attributes.shape[-1])
    out[seen] = values
    return out


def per_face(fragments: Fragments, values_T: Tensor, outside: float | int | bool = 0) -> Tensor:
    """The value (T, ...) of the triangle that each pixel sees → (B, H, W, ...); ``outside`` where nothing is seen."""
    values = values_T[fragments.face.clamp_min(0)]
    values[~fragments.mask] = outside
    return values


def _check(vertices: Tensor, faces: Tensor, camera: Tensor, height: int, width: int) -> int:
    b, v = vertices.shape[0], vertices.shape[1]
    if vertices.ndim != 3 or vertices.shape[2] != 3 or camera.shape != (b, 3) or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(
            "rasterise needs vertices (B, V, 3), faces (T, 3) and cameras (B, 3), got "
            f"{tuple(vertices.shape)}, {tuple(faces.shape)} and {tuple(camera.shape)}"
        )
    if height < 1 or width < 1:
        raise ValueError(f"a picture needs a positive size, got {height} x {width}")
    if len(faces) and not (faces.amin() >= 0 and faces.amax() < v):
        raise ValueError(f"faces must index {v} vertices, got {int(faces.amin())} … {int(faces.amax())}")
    if not (vertices.isfinite().all() and camera.isfinite().all()):
        raise ValueError("vertices and cameras must be finite")
    return b


def _edges(corners_N32: Tensor, points_N2: Tensor) -> Tensor:
    """Edge functions (..., 3) of points in triangles: entry i is twice the signed area opposite corner i."""
    edges = []
    for i in range(3):
        a, b = corners_N32[..., (i + 1) % 3, :], corners_N32[..., (i + 2) % 3, :]
        swap = (a[..., 0] > b[..., 0]) | ((a[..., 0] == b[..., 0]) & (a[..., 1] > b[..., 1]))
        a, b = torch.where(swap[..., None], b, a), torch.where(swap[..., None], a, b)
        along, to = b - a, points_N2 - a
        area = along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]
        edges.append(torch.where(swap, -area, area))
    return torch.stack(edges, -1)


def _depth(edges_N3: Tensor, z_N3: Tensor) -> Tensor:
    """Depth at points with these edge functions: 1 / z is linear over the picture."""
    return edges_N3.sum(-1) / (edges_N3 / z_N3).sum(-1)


def _chunks(counts_N: Tensor, most: int) -> Iterator[slice]:
    """Cut rows into runs whose counts sum to at most ``most``, or single rows where one alone is larger."""
    ends = counts_N.cumsum(0).cpu()
    start, done = 0, 0
    while start < len(ends):
        stop = max(int(torch.searchsorted(ends, done + most, right=True)), start + 1)
        yield slice(start, stop)
        start, done = stop, int(ends[stop - 1])


def _resolve(keys_BHW: Tensor, xy_BT32: Tensor, z_BT3: Tensor) -> Fragments:
    """Fragments of the triangles that won their pixels."""
    seen = keys_BHW != torch.iinfo(torch.int64).max
    picture, v, u = seen.nonzero(as_tuple=True)
    triangle = keys_BHW[seen] & 0xFFFFFFFF
    corners_z = z_BT3[picture, triangle]
    edges = _edges(xy_BT32[picture, triangle], torch.stack([u, v], -1) + 0.5)
    # Weights that are linear on the screen, divided by z, are linear on the triangle.
    weights = edges / edges.sum(-1, keepdim=True) / corners_z
    weights = weights / weights.sum(-1, keepdim=True)

    depth_mm = torch.zeros(keys_BHW.shape, device=keys_BHW.device)
    face = torch.full_like(keys_BHW, -1)
    barycentric = torch.zeros(*keys_BHW.shape, 3, device=keys_BHW.device)
    depth_mm[seen] = _depth(edges, corners_z).float()
    face[seen] = triangle
    barycentric[seen] = weights.float()
    return Fragments(depth_mm, face, barycentric)
