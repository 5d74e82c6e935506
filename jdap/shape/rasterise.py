"""Exact z-buffer rasteriser in plain torch: batched, on CPU and CUDA by one path. On the CPU its loops run compiled
where numba is installed (:mod:`jdap.shape.compiled`): the same bits in a tenth of the time.

Triangles are sorted by the size of their bounding boxes: every pixel centre of a box is tested
against the triangle (edge functions in float64), and the nearest triangle of each pixel is kept by one
``scatter_reduce(amin)`` over (depth bits << 32 | row of the triangle): positive floats sort as their bits do, so the
smallest key is the nearest triangle, and equal depths go to the lowest triangle number. The result does not depend on
the order of the work, the batch or the chunks.

Pixel (u, v) has its centre at (u + 0.5, v + 0.5), as in :mod:`jdap.geometry`. It belongs to a triangle when its centre
is inside or on an edge. The edge function of the edge from a to b is
``(b_x - a_x) v - (b_y - a_y) u + a_x b_y - b_x a_y``: with the ends swapped every term changes its sign and nothing
else, so two triangles that share an edge get exactly opposite values and no pixel falls through the seam.

Shapes: B pictures, V vertices, T triangles, H x W pixels, C channels, R triangles that may be seen (rows), N samples:
pixels that see something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.geometry import project
from jdap.shape import compiled

Z_NEAR_MM = 1.0
#: (triangle, pixel) pairs tested at a time, about 100 bytes each at the peak; what stays in a cache runs fastest.
MAX_PAIRS = 1 << 16
#: Sides of the boxes that triangles are sorted into; a larger triangle is cut into tiles of the last size.
BOXES = (2, 4, 8, 16)
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

    def samples(self, of_T: Tensor | None = None) -> Samples:
        """The pixels that see something, picture by picture in reading order; ``of_T`` bool: of these triangles."""
        if of_T is not None and compiled.is_there() and self.face.device.type == "cpu":
            pixel, face = map(torch.from_numpy, compiled.seen(self.face.numpy(), of_T.numpy()))
        else:
            pixel = (self.face.flatten() >= 0).nonzero()[:, 0]
            face = self.face.take(pixel)
            if of_T is not None:
                chosen = of_T.take(face).nonzero()[:, 0]
                pixel, face = pixel.take(chosen), face.take(chosen)
        picture, _ = _divide(pixel, self.face[0].numel())
        return Samples(pixel, picture, face, self.barycentric.view(-1, 3).index_select(0, pixel))


@dataclass(frozen=True, eq=False)
class Samples:
    """N pixels that see something: ``pixel_N`` their places in the flattened (B, H, W), ``picture_N``, ``face_N``
    int64, and ``barycentric_N3``."""

    pixel_N: Tensor
    picture_N: Tensor
    face_N: Tensor
    barycentric_N3: Tensor

    def select(self, which: slice) -> Samples:
        """Some of the samples."""
        return Samples(self.pixel_N[which], self.picture_N[which], self.face_N[which], self.barycentric_N3[which])

    def interpolate(self, faces_T3: Tensor, attributes_BVC: Tensor) -> Tensor:
        """Perspective-correct vertex attributes (B or 1, V, C) at the samples → (N, C); differentiable in them."""
        corner = faces_T3[self.face_N]
        if attributes_BVC.shape[0] > 1:
            corner = corner + self.picture_N[:, None] * attributes_BVC.shape[1]
        rows, weights = attributes_BVC.flatten(0, 1), self.barycentric_N3.to(attributes_BVC.dtype)
        return F.embedding_bag(corner, rows, mode="sum", per_sample_weights=weights)


@torch.no_grad()
def rasterise(
    vertices_cam_BV3: Tensor,
    faces_T3: Tensor,
    camera_px_B3: Tensor,
    height: int,
    width: int,
    *,
    drawn_BT: Tensor | None = None,
    z_near_mm: float = Z_NEAR_MM,
    cull_back_faces: bool = False,
    max_pairs: int = MAX_PAIRS,
    by_numba: bool | None = None,
) -> Fragments:
    """Draw B meshes of shared triangles with a z-buffer. Not differentiable.

    * ``vertices_cam_BV3`` (B, V, 3) float, camera space (x right, y down, z forward), millimetres
    * ``faces_T3`` (T, 3) int64
    * ``camera_px_B3`` (B, 3) float: focal length and principal point (f, cx, cy) in pixels
    * ``height``, ``width`` of the pictures in pixels
    * ``drawn_BT`` (B or 1, T) bool: which triangles each picture has; without it all
    * ``z_near_mm``: a triangle with any corner nearer than this is dropped whole, not clipped; heads are in front of
      the camera, and a clipper would be code that nothing exercises
    * ``cull_back_faces``: leave out triangles that are clockwise seen from the camera
    * ``max_pairs`` bounds memory: work is cut into pieces of at most this many (triangle, pixel) pairs, or of one
      box where that alone is larger
    * ``by_numba``: whether compiled loops draw, on the CPU; None: where numba is installed

    Raises ValueError for shapes that do not fit, faces that name no vertex, and non-finite numbers.
    """
    b = _check(vertices_cam_BV3, faces_T3, camera_px_B3, height, width, z_near_mm)
    if drawn_BT is not None and tuple(drawn_BT.shape) not in {(1, len(faces_T3)), (b, len(faces_T3))}:
        raise ValueError(f"drawn_BT must be ({b} or 1, {len(faces_T3)}), got {tuple(drawn_BT.shape)}")
    on_cpu = vertices_cam_BV3.device.type == "cpu"
    if compiled.is_there() and on_cpu if by_numba is None else by_numba:
        points = vertices_cam_BV3.double()
        pixels = project(points, camera_px_B3.double())
        arrays = (pixels.numpy(), points[..., 2].numpy(), faces_T3.numpy(), (height, width))
        drawn = None if drawn_BT is None else drawn_BT.numpy()
        return Fragments(*map(torch.from_numpy, compiled.draw(*arrays, drawn, z_near_mm, cull_back_faces)))
    rows = _set_up(vertices_cam_BV3, faces_T3, camera_px_B3, (width, height), drawn_BT, z_near_mm, cull_back_faces)
    keys = torch.full((b * height * width,), EMPTY, device=vertices_cam_BV3.device)
    for row_N, edges_33N, u_NX, v_NY in _boxes(rows, max_pairs):
        e0, e1, e2 = (_edge(terms[..., None, None], u_NX[:, None], v_NY[:, :, None]) for terms in edges_33N)
        inside = torch.minimum(torch.minimum(e0, e1), e2) >= 0
        # A box may reach over the picture's edge.
        inside &= (v_NY < height)[:, :, None] & (u_NX < width)[:, None]
        hit = inside.flatten().nonzero()[:, 0]
        nth, at = _divide(hit, u_NX.shape[1] * v_NY.shape[1])
        down, across = _divide(at, u_NX.shape[1])
        row, edges = row_N.take(nth), [e.take(hit) for e in (e0, e1, e2)]
        area, inverse_z = edges[0] + edges[1] + edges[2], _weigh(edges, rows.inverse_z_3R, row)
        # 1 / z is linear over the picture: depth is area / inverse_z.
        key = ((area / sum(inverse_z)).float().view(torch.int32).long() << 32) | row
        line = rows.picture_R.take(row) * height + v_NY.take(nth * v_NY.shape[1] + down).long()
        pixel = line * width + u_NX.take(nth * u_NX.shape[1] + across).long()
        keys.scatter_reduce_(0, pixel, torch.where(area > 0, key, EMPTY), "amin")
    return _resolve(keys.reshape(b, height, width), rows)


def interpolate(fragments: Fragments, faces_T3: Tensor, attributes_BVC: Tensor) -> Tensor:
    """Perspective-correct vertex attributes at every pixel; zeros where nothing is seen.

    ``faces_T3`` (T, 3) int64 are the triangles that were drawn, or another indexing of them, row by row, as a mesh's
    texture coordinates have; ``attributes_BVC`` (B or 1, V, C) float → (B, H, W, C) of the same type. Differentiable
    in the attributes.
    """
    samples = fragments.samples()
    values = samples.interpolate(faces_T3, attributes_BVC)
    blank = values.new_zeros(fragments.face.numel(), values.shape[1])
    return blank.index_put((samples.pixel_N,), values).unflatten(0, fragments.face.shape)


def per_face(fragments: Fragments, values_T: Tensor, outside: float = 0) -> Tensor:
    """The value (T, ...) of the triangle each pixel sees → (B, H, W, ...); ``outside`` where nothing is seen.

    ``per_face(fragments, model.skin_T)`` is a mask of the skin that is seen.
    """
    beside = values_T.new_full((1, *values_T.shape[1:]), outside)
    return torch.cat([values_T, beside])[fragments.face]  # -1 is the last row


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


@dataclass(frozen=True, eq=False)
class _Rows:
    """The R triangles that may be seen, by picture and then by number.

    ``picture_R``, ``triangle_R`` int64; ``first_2R``, ``last_2R`` int64: columns and lines of the first and last pixel
    centre in the box; ``edges`` (3, 3, R) float64: for the edge opposite each corner what multiplies v and −u, and what
    is added, positive inside; ``inverse_z_3R`` float64, 1 / mm.
    """

    picture_R: Tensor
    triangle_R: Tensor
    first_2R: Tensor
    last_2R: Tensor
    edges_33R: Tensor
    inverse_z_3R: Tensor


def _set_up(
    vertices_BV3: Tensor,
    faces_T3: Tensor,
    camera_B3: Tensor,
    size: tuple[int, int],
    drawn_BT: Tensor | None,
    z_near_mm: float,
    cull: bool,
) -> _Rows:
    # What no picture has is left out at once.
    some = torch.arange(len(faces_T3), device=faces_T3.device)
    if drawn_BT is not None:
        some = drawn_BT.any(0).nonzero()[:, 0]
        faces_T3, drawn_BT = faces_T3.index_select(0, some), drawn_BT.index_select(1, some)
    vertices = vertices_BV3.double()
    # A vertex behind the camera projects to nonsense or infinity; its triangles are dropped before that is used.
    near = vertices[..., 2] >= z_near_mm
    pixels = project(vertices, camera_B3.double()).unbind(-1)
    corner = [faces_T3[:, i] for i in range(3)]
    xs, ys = ([p.index_select(1, c) for c in corner] for p in pixels)
    kept = near.index_select(1, corner[0]) & near.index_select(1, corner[1]) & near.index_select(1, corner[2])
    if drawn_BT is not None:
        kept &= drawn_BT
    area = (xs[1] - xs[0]) * (ys[2] - ys[0]) - (xs[2] - xs[0]) * (ys[1] - ys[0])
    # y points down, so what is counter-clockwise to the viewer has a negative area in (x, y).
    kept &= area < 0 if cull else area != 0
    box = []
    for c, most in ((xs, size[0]), (ys, size[1])):
        # Pixel centres u + 0.5 within [low, high] have ceil(low - 0.5) <= u <= floor(high - 0.5).
        first = (torch.minimum(torch.minimum(c[0], c[1]), c[2]) - 0.5).ceil_().clamp_min_(0)
        last = (torch.maximum(torch.maximum(c[0], c[1]), c[2]) - 0.5).floor_().clamp_max_(most - 1)
        kept &= first <= last
        box += [first, last]
    index = kept.flatten().nonzero()[:, 0]
    picture, triangle = _divide(index, max(len(faces_T3), 1))
    xs, ys = ([c.take(index) for c in axis] for axis in (xs, ys))
    edges = []
    for a, b in ((1, 2), (2, 0), (0, 1)):
        edges += [xs[b] - xs[a], ys[b] - ys[a], xs[a] * ys[b] - xs[b] * ys[a]]
    place = faces_T3.index_select(0, triangle) + picture[:, None] * vertices.shape[1]
    left, right, top, bottom = (side.take(index).long() for side in box)
    return _Rows(
        picture_R=picture,
        triangle_R=some.take(triangle),
        first_2R=torch.stack([left, top]),
        last_2R=torch.stack([right, bottom]),
        edges_33R=(torch.stack(edges) * area.take(index).sign()).unflatten(0, (3, 3)),
        inverse_z_3R=1 / vertices[..., 2].take(place.T),
    )


def _edge(terms_3: Tensor | list[Tensor], u: Tensor, v: Tensor) -> Tensor:
    """Edge function at the centres of pixels (u, v): twice the signed area of the edge and the point."""
    dx, dy, constant = terms_3
    return (dx * (v + 0.5) - dy * (u + 0.5)) + constant


def _weigh(edges: list[Tensor], inverse_z_3R: Tensor, row_N: Tensor) -> list[Tensor]:
    """Weights that are linear on the screen, divided by z, are linear on the triangle."""
    return [edge * inverse_z.take(row_N) for edge, inverse_z in zip(edges, inverse_z_3R, strict=True)]


def _divide(index: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """Quotient and remainder."""
    quotient = torch.div(index, by, rounding_mode="floor")
    return quotient, index - quotient * by


def _boxes(rows: _Rows, most: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The triangles' boxes, all N of equal size at a time: rows (N,), edges (3, 3, N), columns (N, X), lines (N, Y).

    X and Y are of :data:`BOXES`, rounded up; N X Y is at most ``most``, or N is 1.
    """
    first, span = rows.first_2R, rows.last_2R - rows.first_2R + 1
    tile = BOXES[-1]
    tiles = torch.div(span + (tile - 1), tile, rounding_mode="floor")
    row = torch.arange(first.shape[1], device=first.device).repeat_interleave(tiles.prod(0))
    if len(row) > first.shape[1]:
        count = tiles.prod(0)
        nth = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
        down = torch.div(nth, tiles[0, row], rounding_mode="floor")
        moved = torch.stack([nth - down * tiles[0, row], down]) * tile
        first, span = first[:, row] + moved, (span[:, row] - moved).clamp_max(tile)
    across, down = torch.bucketize(span, torch.tensor(BOXES, device=row.device))
    kind = across * len(BOXES) + down
    order = kind.argsort()  # which of equal boxes comes first does not matter
    row, first = row.take(order), first.index_select(1, order).double()
    edges = rows.edges_33R.flatten(0, 1).index_select(1, row).unflatten(0, (3, 3))
    steps = torch.arange(tile, device=row.device, dtype=torch.float64)
    end = 0
    for k, count in enumerate(kind.bincount(minlength=len(BOXES) ** 2).tolist()):
        x, y = BOXES[k // len(BOXES)], BOXES[k % len(BOXES)]
        start, end = end, end + count
        for low in range(start, end, max(most // (x * y), 1)):
            cut = slice(low, min(low + max(most // (x * y), 1), end))
            yield row[cut], edges[..., cut], first[0, cut, None] + steps[:x], first[1, cut, None] + steps[:y]


def _resolve(keys_BHW: Tensor, rows: _Rows) -> Fragments:
    """Fragments of the triangles that won their pixels."""
    _, height, width = keys_BHW.shape
    keys = keys_BHW.flatten()
    pixel = (keys != EMPTY).nonzero()[:, 0]
    key, (line, u) = keys.take(pixel), _divide(pixel, width)
    row, u, v = key & 0xFFFFFFFF, u.double(), (line % height).double()
    edges = [_edge([term.take(row) for term in terms], u, v) for terms in rows.edges_33R]
    weights = _weigh(edges, rows.inverse_z_3R, row)
    total = weights[0] + weights[1] + weights[2]

    depth_mm = torch.zeros(keys.shape, device=keys.device)
    face = torch.full_like(keys, -1)
    barycentric = torch.zeros(*keys.shape, 3, device=keys.device)
    depth_mm[pixel] = (key >> 32).int().view(torch.float32)
    face[pixel] = rows.triangle_R.take(row)
    barycentric[pixel] = torch.stack([weight / total for weight in weights], 1).float()
    return Fragments(depth_mm.view_as(keys_BHW), face.view_as(keys_BHW), barycentric.view(*keys_BHW.shape, 3))
