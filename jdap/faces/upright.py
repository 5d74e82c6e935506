"""Which way up a picture is, by the faces in it.

The landmarker finds faces that lie on their side and says so by their roll. A face on its head it takes for one that
stands, if it finds it at all. So the picture is shown to it turned by a quarter as well: what is wrong one way up is
right another. Where the two ways agree they are right; where they do not, all four are asked, and most of them win.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from jdap.faces.landmarker import Face, Landmarker, face_width_px

#: Top of the forehead and chin among the landmarks.
TOP, BROW_CHIN = 10, 152


def roll_deg(landmarks_px: np.ndarray) -> float:
    """How far a face (N, 2 or 3) leans clockwise in the picture, in degrees within -180 … 180."""
    up = landmarks_px[TOP, :2] - landmarks_px[BROW_CHIN, :2]
    return math.degrees(math.atan2(float(up[0]), float(-up[1])))


def quarters_to_upright(landmarker: Landmarker, rgb_HW3: np.ndarray) -> int:
    """By how many quarters, 0 … 3, anticlockwise (``numpy.rot90``) the picture is upright; 0 where no face says."""
    votes = [vote for turned in (0, 1) if (vote := _vote(landmarker, rgb_HW3, turned)) is not None]
    if len(votes) == 2 and votes[0] == votes[1]:
        return votes[0]
    votes += [vote for turned in (2, 3) if (vote := _vote(landmarker, rgb_HW3, turned)) is not None]
    # Of as many votes those of the picture as it is come first.
    return Counter(votes).most_common(1)[0][0] if votes else 0


def _vote(landmarker: Landmarker, rgb_HW3: np.ndarray, turned: int) -> int | None:
    """What the widest face says when the picture is turned by so many quarters first."""
    faces: list[Face] = landmarker.detect(np.ascontiguousarray(np.rot90(rgb_HW3, turned)))
    if not faces:
        return None
    widest = max(faces, key=lambda face: float(face_width_px(face.landmarks_px_N3)))
    return (turned + round(roll_deg(widest.landmarks_px_N3) / 90)) % 4
