"""A ray caster of a few lines, which a rasteriser is checked against."""

import numpy as np


def cast(corners_T33: np.ndarray, ray_3: np.ndarray) -> float:
    """Where a ray from the origin first meets a triangle: a + s (b - a) + t (c - a) = r ray, solved for each."""
    a, b, c = corners_T33.transpose(1, 0, 2).astype(np.float64)
    s, t, r = np.linalg.solve(np.stack([b - a, c - a, np.broadcast_to(-ray_3, a.shape)], 2), -a[..., None])[..., 0].T
    return float(r[(s >= 0) & (t >= 0) & (s + t <= 1) & (r > 0)].min())
