"""The faces of a video's frames, and why a frame may have none.

mediapipe's Face Landmarker (:mod:`jdap.faces.landmarker`) runs in VIDEO mode: it follows faces from frame to frame and
looks for new ones. With more than one face allowed it leaves landmarks unsmoothed in time, so that they do not lag
behind a moving head. Who is who is told in :mod:`data_prep.video.tracks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from jdap.faces.landmarker import Face, Landmarker, face_width_px
from jdap.units import FPS


@dataclass(frozen=True)
class SmallFaces:
    """Faces that were found only in tiles of a picture: at most ``count`` in a frame, the widest ``width_px`` wide."""

    count: int
    width_px: float


class FaceFinder:
    """Finds the faces of a video, frame by frame; a context manager, one for each video."""

    def __init__(self) -> None:
        self._landmarker = Landmarker(video=True)
        self._frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the landmarker; left to its ``__del__`` it raises when the interpreter exits."""
        self._landmarker.close()

    def find(self, rgb_HW3: np.ndarray, cut: bool = False) -> list[Face]:
        """The faces of the next frame (H, W, 3) uint8, 25 a second, in no order.

        ``cut``: it is the first of a shot. mediapipe would look for faces where they were; a black frame in between
        makes it forget them.
        """
        if cut:
            self._detect(np.zeros_like(rgb_HW3))
        return self._detect(rgb_HW3)

    def _detect(self, rgb_HW3: np.ndarray) -> list[Face]:
        self._frames += 1
        return self._landmarker.detect(rgb_HW3, round((self._frames - 1) * 1000 / FPS))


def count_small_faces(frames: Iterable[np.ndarray]) -> SmallFaces:
    """Look for faces that are too small for the whole picture's detector, frame by frame in tiles of it.

    This says *why* a clip has no face; it takes half a second a frame. ``frames``: (H, W, 3) uint8 RGB.
    """
    most, widest = 0, 0.0
    with Landmarker() as landmarker:
        for frame in frames:
            faces = landmarker.in_tiles(frame)
            most = max(most, len(faces))
            widest = max([widest, *(float(face_width_px(face.landmarks_px_N3)) for face in faces)])
    return SmallFaces(most, widest)
