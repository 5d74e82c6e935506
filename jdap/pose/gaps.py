"""The lines between which a face shows what is not skin: the edges of the lips, and of the lids of each eye.

Landmarks say where they are in a photo, far more exactly than a fitted head does; the head says how they go when it
changes. Where its lips or lids meet, so do the lines, though the head's own may have been a little off.

Shapes: K points of a line from the picture's left to its right, N landmarks, S x S pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

#: Points of a line.
POINTS = 33


@dataclass(frozen=True)
class GapMarks:
    """mediapipe's landmarks of a gap, from the picture's left to its right: along the edge above and the one below, and
    for eyes ``over``, the lower edge of the brow."""

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    over: tuple[int, ...] = ()


MOUTH_GAP = GapMarks(
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
)
EYE_GAPS = (
    GapMarks(
        (33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133), (46, 53, 52, 65, 55)
    ),
    GapMarks(
        (362, 398, 384, 385, 386, 387, 388, 466, 263),
        (362, 382, 381, 380, 374, 373, 390, 249, 263),
        (285, 295, 282, 283, 276),
    ),
)
GAPS = (MOUTH_GAP, *EYE_GAPS)


@dataclass(frozen=True, eq=False)
class Gap:
    """Two lines (K, 2), pixels; ``over_K2`` is what holds still above an eye when its lid goes down."""

    upper_K2: np.ndarray
    lower_K2: np.ndarray
    over_K2: np.ndarray | None = None

    @classmethod
    def between(cls, upper_N2: np.ndarray, lower_N2: np.ndarray, over_N2: np.ndarray | None = None) -> Gap:
        """Of some points along each edge; ``over`` is longer than they, and cut to their length."""
        upper, lower = _line(upper_N2), _line(lower_N2)
        if over_N2 is None:
            return cls(upper, lower)
        way = over_N2[-1] - over_N2[0]
        start, end = (float(np.clip((upper[k] - over_N2[0]) @ way / (way @ way), 0, 1)) for k in (0, -1))
        at, shares = np.linspace(start, end, POINTS), _shares(over_N2)
        return cls(upper, lower, np.stack([np.interp(at, shares, over_N2[:, k]) for k in (0, 1)], 1))

    @property
    def lines(self) -> tuple[np.ndarray, ...]:
        """All its lines."""
        return (self.upper_K2, self.lower_K2) if self.over_K2 is None else (self.upper_K2, self.lower_K2, self.over_K2)

    @property
    def axis_2(self) -> np.ndarray:
        """From corner to corner, of length 1."""
        way = (self.upper_K2[-1] + self.lower_K2[-1]) - (self.upper_K2[0] + self.lower_K2[0])
        return np.asarray(way / max(float(np.hypot(*way)), 1e-9))

    @property
    def down_2(self) -> np.ndarray:
        """Across the axis, from the edge above to the one below."""
        return np.array([-self.axis_2[1], self.axis_2[0]])

    @property
    def open_K(self) -> np.ndarray:
        """How far the edges are apart, pixels; below 0 where they overlap."""
        return np.asarray((self.lower_K2 - self.upper_K2) @ self.down_2)

    def scaled(self, by: float, origin_2: np.ndarray | None = None) -> Gap:
        """In other pixels, and from another origin on."""
        from_2 = np.zeros(2) if origin_2 is None else origin_2
        over = None if self.over_K2 is None else self.over_K2 * by + from_2
        return Gap(self.upper_K2 * by + from_2, self.lower_K2 * by + from_2, over)


def gap_of(points_px_N2: np.ndarray, marks: GapMarks) -> Gap:
    """The gap of all landmarks (N, 2)."""
    upper, lower, over = (
        points_px_N2[list(ids), :2].astype(np.float64) for ids in (marks.upper, marks.lower, marks.over)
    )
    return Gap.between(upper, lower, over if marks.over else None)


def gaps_of(landmarks_px_N2: np.ndarray) -> tuple[Gap, ...]:
    """Those of :data:`GAPS`, in pixels of the picture the landmarks (N, 2) are of."""
    return tuple(gap_of(landmarks_px_N2, marks) for marks in GAPS)


def gone(was: Gap, before: Gap, after: Gap, least_K: np.ndarray) -> Gap:
    """A gap of the picture when a head's own goes from ``before`` to ``after``, all in the same pixels.

    It closes by the share that the head's does, and opens by as much. Where the head's is no wider than ``least_K`` it
    is shut.
    """
    least_K = np.minimum(least_K, 0.6 * before.open_K)
    old, new = (np.maximum(gap.open_K - least_K, 0) for gap in (before, after))
    closes = was.open_K * new / np.maximum(old, 1e-6)
    open_K = np.maximum(np.where(new < old, closes, was.open_K + new - old), 0)
    # Its lines turn as the head's do.
    turn_22 = np.stack([after.axis_2, after.down_2], 1) @ np.stack([before.axis_2, before.down_2])
    axis, down = turn_22 @ was.axis_2, turn_22 @ was.down_2
    apart = open_K[:, None] * down + ((was.lower_K2 - was.upper_K2) @ was.axis_2)[:, None] * axis
    goes = after.lower_K2 - before.lower_K2
    if was.over_K2 is None or before.over_K2 is None or after.over_K2 is None:
        goes = (goes + after.upper_K2 - before.upper_K2) / 2
        middle = (was.upper_K2 + was.lower_K2) / 2 + goes
        return Gap(middle - apart / 2, middle + apart / 2)
    # The lower lid hardly moves: the upper one comes down to it.
    lower = was.lower_K2 + goes
    return Gap(lower - apart, lower, was.over_K2 + after.over_K2 - before.over_K2)


def _shares(points_N2: np.ndarray) -> np.ndarray:
    """How far along the way from the first to the last each point is, 0 … 1, ascending."""
    way = points_N2[-1] - points_N2[0]
    at = np.clip((points_N2 - points_N2[0]) @ way / max(float(way @ way), 1e-9), 0, 1)
    steps = np.maximum(np.diff(at), 1e-3)
    return np.asarray(np.concatenate([[0], np.cumsum(steps)]) / steps.sum())


def _line(points_N2: np.ndarray) -> np.ndarray:
    return np.asarray(PchipInterpolator(_shares(points_N2), points_N2)(np.linspace(0, 1, POINTS)))
