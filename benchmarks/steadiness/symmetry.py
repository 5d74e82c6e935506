"""How far a face's depth is from its own mirror image, about the plane that suits it best.

The plane is found from the depth itself, by registration of the surface to its mirror image, as is usual (ICP; compared
by Xiong et al. 2016, PMC4782817), without a head model: each pixel's point is mirrored, and compared with the surface
where it comes to lie. Depth counts up to scale and shift, so the relief's scale is found along with the plane, within
what faces have. Weak perspective: x and y are pixels.

Shapes: H x W pixels, N points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.optimize import least_squares

from jdap.metrics.depth import FAR, NEAR
from jdap.shape.assumed import RELIEF_MM, WINDOW_MM

#: Landmarks of mediapipe and their fellows on the face's other side: cheeks, corners of eyes, corners of the mouth.
FELLOWS = ((234, 454), (33, 263), (133, 362), (61, 291))
#: The scale of the relief is within this factor of that of :mod:`jdap.shape.assumed`; how strongly it is drawn there.
SCALE_WITHIN, SCALE_PULL = 2.0, 0.005
#: Points that lie steeper than this to the camera, there or mirrored, are not seen well enough to count.
STEEPEST_DEG = 70.0
#: So much of the skin must have its fellow in the picture; every so manyth pixel takes part; how often fellows are
#: chosen anew.
LEAST_SEEN, STEP_PX, MIRROR_ROUNDS = 0.4, 2, 6
#: Fewer points than this make no plane.
_LEAST_POINTS = 50


@dataclass(frozen=True, eq=False)
class Symmetry:
    """``rmse`` in the normalised frame, NaN where too little of the face has its fellow in the picture; ``off_HW``:
    mirrored depth minus depth, NaN where none is; ``yaw_deg``: how far the plane is turned from the camera's axis."""

    rmse: float
    off_HW: np.ndarray
    yaw_deg: float


class _Surface:
    """The face before a camera far away; relief r in the normalised frame, z = scale times r, in pixels."""

    def __init__(self, relief_HW: np.ndarray, skin_HW: np.ndarray) -> None:
        _, (v, u) = distance_transform_edt(~skin_HW, return_indices=True)
        self.relief_HW = relief_HW.astype(np.float64)[v, u]
        self.skin_HW = skin_HW
        self.slope_2HW = np.stack(np.gradient(self.relief_HW))  # down, across
        self.middle_2 = np.argwhere(skin_HW).mean(0)[::-1]  # across, down

    def mirrored(self, v_N: np.ndarray, u_N: np.ndarray, plane_4: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of pixels: where they come to lie (u, v), by how much their relief differs from the surface there, and
        whether both can be seen and are skin."""
        normal_3, offset, scale = unpacked(plane_4)
        points_N3 = np.stack([u_N, v_N, scale * self.relief_HW[v_N, u_N]], 1)
        points_N3[:, :2] -= self.middle_2
        there_N3 = points_N3 - 2 * (points_N3 @ normal_3 - offset)[:, None] * normal_3
        at_2N = there_N3[:, 1::-1].T + self.middle_2[::-1, None]
        off_N = there_N3[:, 2] / scale - map_coordinates(self.relief_HW, at_2N, order=1, mode="nearest")
        down_N, across_N = scale * self.slope_2HW[:, v_N, u_N]
        facing_N3 = np.stack([across_N, down_N, -np.ones_like(across_N)], 1)
        facing_N3 /= np.linalg.norm(facing_N3, axis=1, keepdims=True)
        least = np.cos(np.radians(STEEPEST_DEG))
        turned_N = facing_N3[:, 2] - 2 * (facing_N3 @ normal_3) * normal_3[2]
        skin_N = map_coordinates(self.skin_HW.astype(np.uint8), at_2N, order=0, mode="constant") > 0
        return at_2N, off_N, skin_N & (facing_N3[:, 2] < -least) & (turned_N < -least)


def unpacked(plane_4: np.ndarray) -> tuple[np.ndarray, float, float]:
    """A plane (yaw, roll, offset, logarithm of the relief's scale) as its normal, its offset in pixels, the scale."""
    yaw, roll, offset, log_scale = plane_4
    normal = np.array([np.cos(yaw) * np.cos(roll), np.cos(yaw) * np.sin(roll), np.sin(yaw)])
    return normal, float(offset), float(np.exp(log_scale))


def symmetry(relief_HW: np.ndarray, skin_HW: np.ndarray, pairs_px_M22: np.ndarray) -> Symmetry:
    """How symmetric a face's relief is, in the normalised frame (larger = farther), on skin (H, W) bool.

    ``pairs_px_M22``: M pairs of points (x, y) that are each other's fellows, in pixels, by which the search begins
    (those of :data:`FELLOWS`).
    """
    surface = _Surface(relief_HW, skin_HW)
    usual = np.log(RELIEF_MM / WINDOW_MM * len(relief_HW) / (FAR - NEAR))
    plane_4 = _start(surface, pairs_px_M22, float(usual))
    grid = np.zeros_like(skin_HW)
    grid[::STEP_PX, ::STEP_PX] = True
    v_N, u_N = np.nonzero(skin_HW & grid)
    reach = np.log(SCALE_WITHIN)
    ends = [np.inf, np.inf, np.inf, usual + reach]
    for _ in range(MIRROR_ROUNDS):
        *_, counts_N = surface.mirrored(v_N, u_N, plane_4)
        if counts_N.sum() < _LEAST_POINTS:
            break
        kept = v_N[counts_N], u_N[counts_N]

        def wrong(plane: np.ndarray, kept: tuple[np.ndarray, np.ndarray] = kept) -> np.ndarray:
            _, off, _ = surface.mirrored(*kept, plane)
            return np.append(off, np.sqrt(len(off)) * SCALE_PULL * (plane[3] - usual))

        low = [-np.inf, -np.inf, -np.inf, usual - reach]
        found = least_squares(wrong, plane_4, bounds=(low, ends), x_scale=[0.1, 0.1, 3.0, 0.3], max_nfev=8)
        plane_4 = found.x
    return _told(surface, plane_4)


def _start(surface: _Surface, pairs_px_M22: np.ndarray, usual: float) -> np.ndarray:
    """The plane halfway between fellows."""
    flat = pairs_px_M22.reshape(-1, 2)
    height = np.exp(usual) * map_coordinates(surface.relief_HW, flat.T[::-1], order=1, mode="nearest")
    points_M23 = np.column_stack([flat - surface.middle_2, height]).reshape(-1, 2, 3)
    across = points_M23[:, 1] - points_M23[:, 0]
    normal = across.sum(0) / np.linalg.norm(across.sum(0))
    normal = normal if normal[0] > 0 else -normal
    offset = float((points_M23.mean(1) @ normal).mean())
    return np.array([np.arcsin(normal[2]), np.arctan2(normal[1], normal[0]), offset, usual])


def _told(surface: _Surface, plane_4: np.ndarray) -> Symmetry:
    v_N, u_N = np.nonzero(surface.skin_HW)
    _, off_N, counts_N = surface.mirrored(v_N, u_N, plane_4)
    off_HW = np.full(surface.skin_HW.shape, np.nan)
    off_HW[v_N[counts_N], u_N[counts_N]] = off_N[counts_N]
    yaw_deg = float(np.degrees(plane_4[0]))
    if counts_N.mean() < LEAST_SEEN:
        return Symmetry(float("nan"), off_HW, yaw_deg)
    return Symmetry(float(np.sqrt(np.mean(off_N[counts_N] ** 2))), off_HW, yaw_deg)
