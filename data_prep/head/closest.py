"""The nearest point of a mesh to a point.

Shapes: P query points, V vertices, T triangles, K candidate triangles.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

#: Further than any candidate is.
FACING_AWAY_MM = 1e6


def closest_points(
    points_P3: np.ndarray,
    vertices_V3: np.ndarray,
    faces_T3: np.ndarray,
    candidates: int = 32,
    normals_P3: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest point of a mesh to each query: points (P, 3), triangles (P,) int and barycentric weights (P, 3).

    Exact among the ``candidates`` triangles with the nearest centres, which on an even mesh hold the nearest point.
    With the queries' unit normals, triangles that face the other way (by more than 90 degrees) count only where no
    other candidate is there: a lid's inside is not taken for its outside.
    """
    corners = vertices_V3[faces_T3]
    _, near = cKDTree(corners.mean(1)).query(points_P3, k=min(candidates, len(faces_T3)))
    weights = _closest_weights(points_P3[:, None], corners[near])
    closest = (weights[..., None] * corners[near]).sum(2)
    distance = np.linalg.norm(closest - points_P3[:, None], axis=-1)
    if normals_P3 is not None:
        facing = (face_normals(vertices_V3, faces_T3)[near] * normals_P3[:, None]).sum(-1) > 0
        distance = np.where(facing, distance, distance + FACING_AWAY_MM)
    best = distance.argmin(1)
    rows = np.arange(len(points_P3))
    return closest[rows, best], near[rows, best], weights[rows, best]


def _closest_weights(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric weights of the triangle point nearest to each point: points (..., 3), corners (..., 3, 3).

    The projection onto the plane where it falls inside, else the nearest of the three edges' nearest points.
    """
    a, b, c = (corners[..., i, :] for i in range(3))
    gram = np.stack([b - a, c - a], -2)
    matrix = gram @ gram.swapaxes(-1, -2)
    right = (gram @ (points - a)[..., None])[..., 0]
    vw = _solve_2x2(matrix + 1e-12 * np.eye(2), right)
    inside = np.concatenate([1 - vw.sum(-1, keepdims=True), vw], -1)
    options = [inside]
    for i in range(3):
        j = (i + 1) % 3
        edge = corners[..., j, :] - corners[..., i, :]
        along = ((points - corners[..., i, :]) * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-12)
        weights = np.zeros_like(inside)
        weights[..., j] = along.clip(0, 1)
        weights[..., i] = 1 - weights[..., j]
        options.append(weights)
    stacked = np.stack(options, -2)
    distance = np.linalg.norm(np.einsum("...ok,...kd->...od", stacked, corners) - points[..., None, :], axis=-1)
    distance[..., 0] = np.where((inside >= 0).all(-1), distance[..., 0], np.inf)
    return np.take_along_axis(stacked, distance.argmin(-1)[..., None, None], -2)[..., 0, :]


def _solve_2x2(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cramer's rule for symmetric (..., 2, 2) and (..., 2): a library's loop over small systems takes far longer."""
    a, b, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]
    x, y = right[..., 0], right[..., 1]
    return np.stack([d * x - b * y, a * y - b * x], -1) / (a * d - b * b)[..., None]


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (T, 3) of the triangles (T, 3) of vertices (V, 3); zero where a triangle has no area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
