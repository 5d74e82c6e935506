"""Exact z-buffer rasteriser in plain torch: batched, on CPU and CUDA by one path.

Every pixel centre inside a triangle's bounding box is tested against the triangle (edge functions in float64), and the
nearest triangle of each pixel is kept by one ``scatter_reduce(amin)`` over (depth bits << 32 | triangle): positive
floats sort as their bits do, so the smallest key is the nearest triangle, and equal depths go to the lowest triangle
number. The result does not depend on the order of the work, the batch or the chunks.

Pixel (u, v) has its centre at (u + 0.5, v + 0.5), as in :mod:`jdap.geometry`. It belongs to a triangle when its centre
is inside or on an edge. The edge function of an edge starts at its lexicographically smaller end, so that two triangles
that share an edge get exactly opposite values and no pixel falls through the seam.

Shapes: B pictures, V vertices, T triangles, H x W pixels, C channels, N (triangle, pixel) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jdap.geometry import project

Z_NEAR_MM = 1.0
#: (triangle, pixel) pairs tested at a time, about 300 bytes each at the peak; what stays in a cache runs fastest.
MAX_PAIRS = 1 << 18
EMPTY = torch.iinfo(torch.int64).max


@dataclass(frozen=True, eq=False)
class Fragments:
    """What each pixel sees.

    * ``depth_mm`` (B, H, W) float32: z-depth along the camera axis in millimetres, 0 = nothing
    * ``face`` (B, H, W) int64: row of ``faces_T3`` that is seen, -1 = nothing
    * ``barycentric`` (B, H, W, 3) float32: perspective-correct weights of that triangle's corners at the pixel's
      centre, in [0, 1] with sum 1; zeros where nothing is seen
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
    max_pairs: int = MAX_PAIRS,
) -> Fragments:
    """Draw B meshes of shared triangles with a z-buffer. Not differentiable.

    * ``vertices_cam_BV3`` (B, V, 3) float, camera space (x right, y down, z forward), millimetres
    * ``faces_T3`` (T, 3) int64, T < 2^31
    * ``camera_px_B3`` (B, 3) float: focal length and principal point (f, cx, cy) in pixels
    * ``height``, ``width`` of the pictures in pixels
    * ``z_near_mm``: a triangle with any corner nearer than this is dropped whole, not clipped; heads are in front of
      the camera, and a clipper would be code that nothing exercises
    * ``cull_back_faces``: leave out triangles that are clockwise seen from the camera
    * ``max_pairs`` bounds memory: work is cut into pieces of at most this many (triangle, pixel) pairs, or of one
      triangle's box where that alone is larger

    Raises ValueError for shapes that do not fit, faces that name no vertex, and non-finite numbers.
    """
    b = _check(vertices_cam_BV3, faces_T3, camera_px_B3, height, width, z_near_mm)
    device = vertices_cam_BV3.device
    vertices = vertices_cam_BV3.double()
    corner_z_BT3 = vertices[..., 2][:, faces_T3]
    # A vertex behind the camera projects to nonsense or infinity; its triangles are dropped before that is used.
    corner_px_BT32 = project(vertices, camera_px_B3.double())[:, faces_T3]

    # Pixel centres u + 0.5 within [low, high] have ceil(low - 0.5) <= u <= floor(high - 0.5).
    size = torch.tensor([width, height], dtype=torch.float64, device=device)
    first = (corner_px_BT32.amin(2) - 0.5).ceil().clamp_min(0)
    last = torch.minimum((corner_px_BT32.amax(2) - 0.5).floor(), size - 1)
    kept = (first <= last).all(-1) & (corner_z_BT3 >= z_near_mm).all(-1)
    picture, triangle = kept.nonzero(as_tuple=True)
    first, last, corner_z = first[kept].long(), last[kept].long(), corner_z_BT3[kept]
    lines = _edge_lines(corner_px_BT32[kept])
    if cull_back_faces:
        # y points down, so what is counter-clockwise to the viewer has a negative area in (x, y).
        front = _edges(lines, corner_px_BT32[kept].mean(1)).sum(-1) < 0
        picture, triangle, first, last, corner_z, lines = (
            x[front] for x in (picture, triangle, first, last, corner_z, lines)
        )

    keys = torch.full((b * height * width,), EMPTY, device=device)
    span = last - first + 1
    pairs = span.prod(-1)
    for part in _chunks(pairs, max_pairs):
        # One row a pair: its triangle (row of this part) and its pixel, boxes in reading order.
        count = pairs[part]
        row = torch.arange(len(count), device=device).repeat_interleave(count)
        nth = torch.arange(len(row), device=device) - (count.cumsum(0) - count)[row]
        across = span[part, 0][row]
        v = torch.div(nth, across, rounding_mode="floor")
        u = nth - v * across + first[part, 0][row]
        v = v + first[part, 1][row]
        edges = _edges(lines[part][row], torch.stack([u, v], -1) + 0.5)
        inside = ((edges.amin(-1) >= 0) | (edges.amax(-1) <= 0)) & (edges.sum(-1) != 0)
        row, edges = row[inside], edges[inside]
        depth_bits = _depth(edges, corner_z[part][row]).float().view(torch.int32).long()
        pixel = (picture[part][row] * height + v[inside]) * width + u[inside]
        keys.scatter_reduce_(0, pixel, (depth_bits << 32) | triangle[part][row], "amin")
    return _resolve(keys.reshape(b, height, width), corner_px_BT32, corner_z_BT3)


def interpolate(fragments: Fragments, faces_T3: Tensor, attributes_BVC: Tensor) -> Tensor:
    """Perspective-correct vertex attributes at every pixel; zeros where nothing is seen.

    ``faces_T3`` (T, 3) int64 are the triangles that were drawn, or another indexing of them, row by row, as a mesh's
    texture coordinates have; ``attributes_BVC`` (B or 1, V, C) float → (B, H, W, C) of the same type. Differentiable
    in the attributes.
    """
    seen = fragments.mask
    attributes = attributes_BVC.expand(seen.shape[0], -1, -1)
    picture = seen.nonzero(as_tuple=True)[0]
    corners = attributes[picture[:, None], faces_T3[fragments.face[seen]]]
    values = (corners * fragments.barycentric[seen][..., None].to(corners.dtype)).sum(1)
    return values.new_zeros(*seen.shape, values.shape[-1]).index_put(seen.nonzero(as_tuple=True), values)


def per_face(fragments: Fragments, values_T: Tensor, outside: float = 0) -> Tensor:
    """The value (T, ...) of the triangle each pixel sees → (B, H, W, ...); ``outside`` where nothing is seen.

    ``per_face(fragments, model.skin_T)`` is a mask of the skin that is seen.
    """
    seen = fragments.mask
    values = torch.full((*seen.shape, *values_T.shape[1:]), outside, dtype=values_T.dtype, device=values_T.device)
    values[seen] = values_T[fragments.face[seen]]
    return values


def _check(vertices: Tensor, faces: Tensor, camera: Tensor, height: int, width: int, z_near_mm: float) -> int:
    b = vertices.shape[0]
    fits = vertices.ndim == 3 and vertices.shape[2] == 3 and faces.ndim == 2 and faces.shape[1] == 3
    if not fits or tuple(camera.shape) != (b, 3):
        raise ValueError(
            "rasterise needs vertices (B, V, 3), faces (T, 3) and cameras (B, 3), got "
            f"{tuple(vertices.shape)}, {tuple(faces.shape)} and {tuple(camera.shape)}"
        )
    if height < 1 or width < 1 or not z_near_mm > 0:
        raise ValueError(f"size and z_near_mm must be positive, got {height} x {width} pixels and {z_near_mm} mm")
    if len(faces) and not (faces.amin() >= 0 and faces.amax() < vertices.shape[1]):
        raise ValueError(f"faces name vertices {faces.amin()} … {faces.amax()}, there are {vertices.shape[1]}")
    if not (vertices.isfinite().all() and camera.isfinite().all()):
        raise ValueError("vertices and cameras must be finite")
    return b


def _edge_lines(corner_px_N32: Tensor) -> Tensor:
    """The three edges of each triangle (N, 3, 4): start (x, y) and direction (x, y); edge i is opposite corner i.

    A direction is negated where the start had to be the far end, so that shared edges are bit-equal but for the sign.
    """
    a, b = corner_px_N32.roll(-1, 1), corner_px_N32.roll(-2, 1)
    swap = (a[..., :1] > b[..., :1]) | ((a[..., :1] == b[..., :1]) & (a[..., 1:] > b[..., 1:]))
    start, end = torch.where(swap, b, a), torch.where(swap, a, b)
    return torch.cat([start, torch.where(swap, start - end, end - start)], -1)


def _edges(lines_N34: Tensor, points_N2: Tensor) -> Tensor:
    """Edge functions (N, 3): twice the signed area of a point and each edge; their sum is the triangle's."""
    to = points_N2[:, None] - lines_N34[..., :2]
    return lines_N34[..., 2] * to[..., 1] - lines_N34[..., 3] * to[..., 0]


def _depth(edges_N3: Tensor, corner_z_N3: Tensor) -> Tensor:
    """Depth (N,) at points with these edge functions: 1 / z is linear over the picture."""
    return edges_N3.sum(-1) / (edges_N3 / corner_z_N3).sum(-1)


def _chunks(counts_N: Tensor, most: int) -> Iterator[slice]:
    """Cut rows into runs whose counts sum to at most ``most``, or single rows where one alone is larger."""
    ends = counts_N.cumsum(0).cpu()
    start, done = 0, 0
    while start < len(ends):
        stop = max(int(torch.searchsorted(ends, done + most, right=True)), start + 1)
        yield slice(start, stop)
        start, done = stop, int(ends[stop - 1])


def _resolve(keys_BHW: Tensor, corner_px_BT32: Tensor, corner_z_BT3: Tensor) -> Fragments:
    """Fragments of the triangles that won their pixels."""
    seen = keys_BHW != EMPTY
    picture, v, u = seen.nonzero(as_tuple=True)
    triangle = keys_BHW[seen] & 0xFFFFFFFF
    edges = _edges(_edge_lines(corner_px_BT32[picture, triangle]), torch.stack([u, v], -1) + 0.5)
    corner_z = corner_z_BT3[picture, triangle]
    # Weights that are linear on the screen, divided by z, are linear on the triangle.
    weights = edges / edges.sum(-1, keepdim=True) / corner_z
    weights = weights / weights.sum(-1, keepdim=True)

    depth_mm = torch.zeros(keys_BHW.shape, device=keys_BHW.device)
    face = torch.full_like(keys_BHW, -1)
    barycentric = torch.zeros(*keys_BHW.shape, 3, device=keys_BHW.device)
    depth_mm[seen] = _depth(edges, corner_z).float()
    face[seen] = triangle
    barycentric[seen] = weights.float()
    return Fragments(depth_mm, face, barycentric)
