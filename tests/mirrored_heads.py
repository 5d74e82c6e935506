"""Heads of which it is known how far they are from their mirror images."""

import numpy as np

SIZE = 128
#: Half axes of a head in pixels: across, down, towards the camera; and a nose on it.
AXES, NOSE_PX, NOSE_WIDTH_PX = (38.0, 48.0, 40.0), 14.0, 9.0


def head(yaw_deg: float, lump_px: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """A half ellipsoid with a nose, a ``lump_px`` high lump on one cheek, turned by a yaw, as the camera sees it: its
    relief in the normalised frame, where it is, pairs of fellows, and pixels of depth per unit of relief."""
    grid = np.linspace(-1, 1, 601)
    x, y = (values.ravel() for values in np.meshgrid(grid * AXES[0], grid * AXES[1]))
    inside = (x / AXES[0]) ** 2 + (y / AXES[1]) ** 2 < 0.98
    x, y = x[inside], y[inside]
    z = -AXES[2] * np.sqrt(1 - (x / AXES[0]) ** 2 - (y / AXES[1]) ** 2)
    z -= NOSE_PX * np.exp(-((x / NOSE_WIDTH_PX) ** 2) - ((y / 14) ** 2))
    z -= lump_px * np.exp(-(((x - 18) / 7) ** 2) - (((y - 12) / 7) ** 2))
    angle = np.radians(yaw_deg)

    def seen(points_N3: np.ndarray) -> np.ndarray:
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        return points_N3 @ turn.T + [SIZE / 2, SIZE / 2, 0]

    points = seen(np.stack([x, y, z], 1))
    depth = np.full((SIZE, SIZE), np.inf)
    cells = points[:, :2].round().astype(int)
    np.minimum.at(depth, (cells[:, 1], cells[:, 0]), points[:, 2])
    skin = np.isfinite(depth)
    # The rim, which is steep and full of holes, is not skin.
    rim = np.hypot((np.arange(SIZE)[None] - SIZE / 2) / AXES[0], (np.arange(SIZE)[:, None] - SIZE / 2) / AXES[1]) > 0.85
    skin &= ~rim
    per_unit = float(np.ptp(np.quantile(depth[skin], [0.02, 0.98]))) / 0.9
    relief = np.where(skin, (depth - depth[skin].min()) / per_unit, 1.0)
    sides = np.array([[-20.0, 20.0], [-12.0, -15.0], [-15.0, 10.0]])
    height = -AXES[2] * np.sqrt(1 - (sides[:, 0] / AXES[0]) ** 2 - (sides[:, 1] / AXES[1]) ** 2)
    near = seen(np.column_stack([sides, height]))
    far = seen(np.column_stack([-sides[:, 0], sides[:, 1], height]))
    return relief, skin, np.stack([near[:, :2], far[:, :2]], 1), per_unit
