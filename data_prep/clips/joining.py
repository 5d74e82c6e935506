"""The rows of a video's segments become the video's: a face that goes on over a seam is one person.

Both segments have seen the last frames before the seam, the later one as its run-up. Where both have a face in one
place there, and follow it to the seam and from it on, it is one face.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep.clips.clip import SEAMS, Place
from jdap.faces.landmarker import SAME_FACE


def join_segments(parts: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of a video, of those of its segments in order.

    ``person_id`` is that of the clip in which the unbroken face was first seen.
    """
    joined, before = list[dict[str, Any]](), list[tuple[Place, str]]()
    for part in parts:
        after, left = list[tuple[Place, str]](), list(before)
        for row in part:
            row = dict(row)
            came, goes = row.pop(SEAMS, (None, None))
            if came and (same := _nearest(came, [place for place, _ in left])) is not None:
                row["person_id"] = left.pop(same)[1]
            if goes:
                after.append((goes, row["person_id"]))
            joined.append(row)
        before = after
    return joined


def _nearest(place: Place, others: list[Place]) -> int | None:
    """Which of the others is the same face, seen at the same time."""
    far = [float(np.hypot(place[0] - x, place[1] - y)) / max(place[2], width) for x, y, width in others]
    nearest = int(np.argmin(far)) if far else -1
    return nearest if far and far[nearest] < SAME_FACE else None
