"""How a coded picture is turned and mirrored to be shown: the display matrix of its track.

A phone writes pictures as its sensor lies, and a matrix that says how they are held; front cameras may mirror, too.
The matrix takes a coded point (x, y), y down, to (a x + c y, b x + d y). It is read in full: an angle alone takes a
mirrored picture for one on its head.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

from data_prep.video.error import UnreadableVideo

#: A matrix is one of the eight when no entry is farther off, of a length of 1: about half a degree.
CLOSE = 0.01
_QUARTER = np.array([[0, 1], [-1, 0]])  # (x, y) → (y, -x): anticlockwise
_MIRROR = np.array([[-1, 0], [0, 1]])


def _unknown_kind(cls: type[Type], value: object) -> Any:
    """A kind of side data that FFmpeg knows and PyAV (18.1) does not: EXIF, the views of spatial video. PyAV looks at
    all that a frame has, and would refuse the matrix because of it."""
    kind: Any = object.__new__(cls)
    kind._name_, kind._value_ = f"KIND_{value}", value
    return kind


Type._missing_ = classmethod(_unknown_kind)  # type: ignore[assignment]


@dataclass(frozen=True)
class Turn:
    """First so many ``quarters`` anticlockwise, then, if ``mirrored``, left and right exchanged."""

    quarters: int = 0
    mirrored: bool = False

    def apply(self, picture_HW3: np.ndarray) -> np.ndarray:
        """The picture as it is to be shown, contiguous."""
        turned = np.rot90(picture_HW3, self.quarters)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)


def turn_of(frame: av.VideoFrame) -> Turn:
    """What the frame's display matrix asks for.

    Raises :class:`data_prep.video.error.UnreadableVideo` for any other matrix than the eight of a picture's four sides.
    """
    side_data: Any = frame.side_data
    data = side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return Turn()
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(data))
    matrix = np.array([[a, c], [b, d]], np.float64)
    length = np.sqrt(abs(np.linalg.det(matrix)))
    if length > 0:
        for mirrored in (False, True):
            for quarters in range(4):
                known = np.linalg.matrix_power(_QUARTER, quarters)
                if np.abs(matrix / length - (_MIRROR @ known if mirrored else known)).max() < CLOSE:
                    return Turn(quarters, mirrored)
    raise UnreadableVideo("its display matrix does more than turn by quarters and mirror; encode it again, upright")
