"""Loops of the rasteriser and of membranes for the CPU, compiled by numba (the one file that imports it).

They do what :mod:`jdap.shape.rasterise` and :mod:`jdap.shape.membrane` do in torch, operation by operation and in the
same order, so the bits are the same; but triangle by triangle and pixel by pixel, without pictures of what is thrown
away, which takes a tenth of the time and no memory.

Shapes: B pictures, V vertices, T triangles, H x W pixels, C channels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np


@functools.cache
def is_there() -> bool:
    """Whether numba is installed: ``pip install 'jdap[fast]'``."""
    return find_spec("numba") is not None


def draw(
    pixel_BV2: np.ndarray,
    z_mm_BV: np.ndarray,
    faces_T3: np.ndarray,
    size: tuple[int, int],
    drawn_BT: np.ndarray | None,
    z_near_mm: float,
    cull: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (B, H, W) float32, face (B, H, W) int64 and barycentric (B, H, W, 3) float32, as
    :class:`jdap.shape.rasterise.Fragments` has them; ``size``: (H, W); float64 pixels and depths of vertices."""
    shape = (len(pixel_BV2), *size)
    depth, face = np.zeros(shape, np.float32), np.full(shape, -1, np.int64)
    barycentric = np.zeros((*shape, 3), np.float32)
    drawn = np.zeros((0, 0), np.bool_) if drawn_BT is None else np.broadcast_to(drawn_BT, (shape[0], len(faces_T3)))
    arrays = (np.ascontiguousarray(values) for values in (pixel_BV2, z_mm_BV, faces_T3, drawn))
    _compiled(_draw)(*arrays, z_near_mm, cull, depth, face, barycentric)
    return depth, face, barycentric


def seen(face_BHW: np.ndarray, of_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that see a triangle of ``of_T`` bool: their places in the flattened (B, H, W), in order; the triangles."""
    places, triangles = _compiled(_seen)(face_BHW.ravel(), of_T)
    return places, triangles


def relax(values_CHW: np.ndarray, known_HW: np.ndarray, rounds: int) -> np.ndarray:
    """Float values after so many rounds of :func:`jdap.shape.membrane.relaxed`."""
    now = np.pad(values_CHW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    _compiled(_relax)(now, now.copy(), np.ascontiguousarray(known_HW), rounds)
    return now[:, 1:-1, 1:-1].copy()


@functools.cache
def _compiled(loops: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    try:
        return numba.njit(cache=True, nogil=True)(loops)
    except RuntimeError:  # no folder to keep it in: it is compiled again in each process
        return numba.njit(nogil=True)(loops)


def _draw(
    pixel_BV2: np.ndarray,
    z_mm_BV: np.ndarray,
    faces_T3: np.ndarray,
    drawn_BT: np.ndarray,
    z_near_mm: float,
    cull: bool,
    depth_BHW: np.ndarray,
    face_BHW: np.ndarray,
    barycentric_BHW3: np.ndarray,
) -> None:
    pictures, height, width = depth_BHW.shape
    some = drawn_BT.size > 0
    for b in range(pictures):
        for t in range(faces_T3.shape[0]):
            if some and not drawn_BT[b, t]:
                continue
            i, j, k = faces_T3[t, 0], faces_T3[t, 1], faces_T3[t, 2]
            z0, z1, z2 = z_mm_BV[b, i], z_mm_BV[b, j], z_mm_BV[b, k]
            if z0 < z_near_mm or z1 < z_near_mm or z2 < z_near_mm:
                continue
            x0, y0 = pixel_BV2[b, i, 0], pixel_BV2[b, i, 1]
            x1, y1 = pixel_BV2[b, j, 0], pixel_BV2[b, j, 1]
            x2, y2 = pixel_BV2[b, k, 0], pixel_BV2[b, k, 1]
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            if area == 0 or (cull and area > 0):
                continue
            left = max(np.ceil(min(x0, x1, x2) - 0.5), 0.0)
            right = min(np.floor(max(x0, x1, x2) - 0.5), width - 1.0)
            top = max(np.ceil(min(y0, y1, y2) - 0.5), 0.0)
            bottom = min(np.floor(max(y0, y1, y2) - 0.5), height - 1.0)
            if left > right or top > bottom:
                continue
            sign = 1.0 if area > 0 else -1.0
            dx0, dy0, c0 = (x2 - x1) * sign, (y2 - y1) * sign, (x1 * y2 - x2 * y1) * sign
            dx1, dy1, c1 = (x0 - x2) * sign, (y0 - y2) * sign, (x2 * y0 - x0 * y2) * sign
            dx2, dy2, c2 = (x1 - x0) * sign, (y1 - y0) * sign, (x0 * y1 - x1 * y0) * sign
            n0, n1, n2 = 1 / z0, 1 / z1, 1 / z2
            for v in range(int(top), int(bottom) + 1):
                a0, a1, a2 = dx0 * (v + 0.5), dx1 * (v + 0.5), dx2 * (v + 0.5)
                for u in range(int(left), int(right) + 1):
                    e0, e1, e2 = a0 - dy0 * (u + 0.5) + c0, a1 - dy1 * (u + 0.5) + c1, a2 - dy2 * (u + 0.5) + c2
                    if min(e0, e1, e2) < 0:
                        continue
                    whole = e0 + e1 + e2
                    if whole <= 0:
                        continue
                    w0, w1, w2 = e0 * n0, e1 * n1, e2 * n2
                    total = w0 + w1 + w2
                    z = np.float32(whole / total)
                    # Triangles come by number: of equal depths the first stays.
                    if face_BHW[b, v, u] >= 0 and z >= depth_BHW[b, v, u]:
                        continue
                    depth_BHW[b, v, u], face_BHW[b, v, u] = z, t
                    barycentric_BHW3[b, v, u, 0] = w0 / total
                    barycentric_BHW3[b, v, u, 1] = w1 / total
                    barycentric_BHW3[b, v, u, 2] = w2 / total


def _seen(face_P: np.ndarray, of_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = 0
    for p in range(len(face_P)):
        count += face_P[p] >= 0 and of_T[face_P[p]]
    places, triangles, n = np.empty(count, np.int64), np.empty(count, np.int64), 0
    for p in range(len(face_P)):
        if face_P[p] >= 0 and of_T[face_P[p]]:
            places[n], triangles[n] = p, face_P[p]
            n += 1
    return places, triangles


def _relax(now_CHW: np.ndarray, next_CHW: np.ndarray, known_HW: np.ndarray, rounds: int) -> None:
    """``now`` holds what is found, in a frame of one pixel that repeats its edge; ``next`` is a copy to work in."""
    height, width = known_HW.shape
    quarter = np.float32(0.25)
    for c in range(len(now_CHW)):
        now, after = now_CHW[c], next_CHW[c]
        for _ in range(rounds):
            for v in range(1, height + 1):
                above, line, below, out, known = now[v - 1], now[v], now[v + 1], after[v], known_HW[v - 1]
                for u in range(1, width + 1):
                    mean = (line[u - 1] + line[u + 1] + above[u] + below[u]) * quarter
                    out[u] = line[u] if known[u - 1] else mean
                out[0], out[width + 1] = out[1], out[width]
            after[0], after[height + 1] = after[1], after[height]
            now, after = after, now
        now_CHW[c] = now
