"""What the first pass over a segment keeps of its frames for the second, so that a file is decoded once.

Of each frame the surroundings of its faces are kept, or all of it where that is less, until they are more than
:data:`KEPT_BYTES`: then nothing is kept, and the file is read again.

Shapes: N landmarks, F frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jdap.faces.crop import Region
from jdap.faces.landmarker import face_box

#: So much of a segment is held in memory: 13 s of 512 x 512.
KEPT_BYTES = 256 << 20
#: Kept is a square of so many of the widest face's sides to either side of each face: windows have 0.95, and may lag.
KEPT_AROUND = 1.5


class KeptFrames:
    """Parts of a segment's frames, by number."""

    def __init__(self) -> None:
        self._frames: dict[int, list[Region]] = {}
        self._bytes, self._side, self._last = 0, 0.0, np.zeros(0)

    def add(self, k: int, frame: np.ndarray, faces_px: Sequence[np.ndarray]) -> None:
        """Keep what is around faces with landmarks (N, 2 or 3) in frame ``k`` (H, W, 3) uint8, while there is room."""
        if self._bytes > KEPT_BYTES:
            return
        boxes = [face_box(points) for points in faces_px]
        self._side = max([self._side, *(float((box[2:] - box[:2]).max()) for box in boxes)])
        regions = [self._around(frame, box) for box in boxes]
        if sum(region.rgb_HW3.size for region in regions) >= frame.size:
            regions = [Region.whole(frame)]
            self._bytes += 0 if frame is self._last else frame.nbytes
            self._last = frame
        else:
            self._bytes += sum(region.rgb_HW3.nbytes for region in regions)
        self._frames[k] = regions
        if self._bytes > KEPT_BYTES:
            self._frames, self._last = {}, np.zeros(0)

    def region(self, k: int, window_px: np.ndarray, size: int) -> Region | None:
        """What was kept of frame ``k`` that holds a window (left, top, size) resampled to ``size`` pixels, or None."""
        return next((one for one in self._frames.get(k, ()) if one.holds(window_px, size)), None)

    def _around(self, frame: np.ndarray, box_4: np.ndarray) -> Region:
        height, width = frame.shape[:2]
        reach, middle = KEPT_AROUND * self._side, (box_4[:2] + box_4[2:]) / 2
        left, top = (middle - reach).clip(0, [width, height]).astype(int)
        right, bottom = np.ceil((middle + reach).clip(0, [width, height])).astype(int)
        return Region(frame[top:bottom, left:right].copy(), int(left), int(top), width, height)
