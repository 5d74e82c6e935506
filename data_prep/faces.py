"""The face of a video followed from frame to frame, and why a frame may have none.

mediapipe's Face Landmarker (:mod:`jdap.faces.landmarker`) runs in VIDEO mode: it follows faces from frame to frame and
looks for new ones. With more than one face allowed it leaves landmarks unsmoothed in time, so that they do not lag
behind a moving head.

Frames: F. Landmarks: 478 (468 of the face, 5 for each iris). Blendshapes: 52.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from data_prep.video import FPS
from jdap.faces.landmarker import (
    BLENDSHAPES,
    LANDMARKS,
    Face,
    Landmarker,
    apart,
    counts_beside,
    face_width_px,
)

#: A face whose centre moves farther than this between neighbouring frames, in face widths, is another one, or a cut.
LARGEST_STEP = 0.6


Look = Callable[[int, np.ndarray, np.ndarray | None], None]


@dataclass(frozen=True, eq=False)
class Track:
    """What was found in F consecutive frames; a frame without a face has NaN.

    * ``landmarks_px_FN3`` (F, 478, 3) float32: x, y in pixels of the frame; z in the same scale, smaller = nearer
    * ``blendshapes_FB`` (F, 52) float32 in [0, 1]
    * ``blendshape_names``: 52 names of ARKit in mediapipe's spelling (``jawOpen``, ``eyeBlinkLeft``); the first,
      ``_neutral``, is mediapipe's own; empty where no frame has a face
    * ``faces_F`` (F,) int64: faces found, small ones in the background not counted
    * ``jump_F`` (F,) bool: the face is somewhere else than in the frame before: another face, or a cut
    """

    landmarks_px_FN3: np.ndarray
    blendshapes_FB: np.ndarray
    blendshape_names: tuple[str, ...]
    faces_F: np.ndarray
    jump_F: np.ndarray


@dataclass(frozen=True)
class SmallFaces:
    """Faces that were found only in tiles of a picture: at most ``count`` in a frame, the widest ``width_px`` wide."""

    count: int
    width_px: float


class FaceTracker:
    """Finds the face of a video, frame by frame; a context manager, one for each video.

    Followed is the largest face at first, then the one nearest to where it was.
    """

    def __init__(self) -> None:
        self._landmarker = Landmarker(video=True)
        self._frames = 0
        self._last: np.ndarray | None = None
        self._names: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the landmarker; left to its ``__del__`` it raises when the interpreter exits."""
        self._landmarker.close()

    def track(self, frames: Iterable[np.ndarray], look: Look | None = None) -> Track:
        """Follow the face through the next frames, (H, W, 3) uint8 RGB each, 25 a second.

        ``look(k, frame, landmarks_px_N3)`` is called with each frame as it passes; landmarks are None without a face.
        """
        landmarks, blendshapes, faces, jump = [], [], [], []
        for k, frame in enumerate(frames):
            found = self._detect(frame)
            first = self._choose(found)
            points = np.full((LANDMARKS, 3), np.nan, np.float32)
            shapes = np.full(BLENDSHAPES, np.nan, np.float32)
            jumped = False
            if first is not None:
                points, shapes, self._names = first.landmarks_px_N3, first.blendshapes_B, first.names
                jumped = self._last is not None and apart(points, self._last) > LARGEST_STEP
                self._last = points
            landmarks.append(points)
            blendshapes.append(shapes)
            others = sum(face is not first and counts_beside(face.landmarks_px_N3, points) for face in found)
            faces.append(0 if first is None else 1 + others)
            jump.append(jumped)
            if look is not None:
                look(k, frame, None if first is None else points)
        return Track(
            np.stack(landmarks) if landmarks else np.zeros((0, LANDMARKS, 3), np.float32),
            np.stack(blendshapes) if blendshapes else np.zeros((0, BLENDSHAPES), np.float32),
            self._names,
            np.array(faces, np.int64),
            np.array(jump, bool),
        )

    def _detect(self, frame: np.ndarray) -> list[Face]:
        self._frames += 1
        return self._landmarker.detect(frame, round((self._frames - 1) * 1000 / FPS))

    def _choose(self, faces: list[Face]) -> Face | None:
        if not faces:
            return None
        last = self._last
        if last is None:
            return max(faces, key=lambda face: face_width_px(face.landmarks_px_N3))
        return min(faces, key=lambda face: apart(face.landmarks_px_N3, last))


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
