"""Faces in frames: landmarks, blendshapes and how many faces there are (the one file that imports mediapipe).

mediapipe's Face Landmarker runs in VIDEO mode: it follows faces from frame to frame and looks for new ones. With more
than one face allowed it leaves landmarks unsmoothed in time, so that they do not lag behind a moving head.

Frames: F. Landmarks: 478 (468 of the face, 5 for each iris). Blendshapes: 52.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from data_prep import assets
from data_prep.video import FPS

LANDMARKS, BLENDSHAPES = 478, 52
#: How many faces are looked for; more than one costs about a fifth of the speed, more than two nothing more.
MAX_FACES = 4
#: A further face counts from this share of the first one's width; smaller ones stand in the background.
OTHER_FACE = 0.4
#: Two faces are one when their centres are nearer than this share of the width: the landmarker may find a face twice.
SAME_FACE = 0.3
#: Small faces are looked for in square tiles of this share of the picture's longer side, half overlapping.
TILE = 0.25
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
        self._mp = _mediapipe()
        self._landmarker = _landmarker("VIDEO")
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
            first = self._choose([points for points, _ in found])
            points = np.full((LANDMARKS, 3), np.nan, np.float32)
            shapes = np.full(BLENDSHAPES, np.nan, np.float32)
            jumped = False
            if first is not None:
                points, shapes = found[first]
                jumped = self._last is not None and _apart(points, self._last) > LARGEST_STEP
                self._last = points
            landmarks.append(points)
            blendshapes.append(shapes)
            faces.append(0 if first is None else 1 + _others([p for p, _ in found], first))
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

    def _detect(self, frame: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        image = self._mp.Image(self._mp.ImageFormat.SRGB, np.ascontiguousarray(frame))
        result = self._landmarker.detect_for_video(image, round(self._frames * 1000 / FPS))
        self._frames += 1
        height, width = frame.shape[:2]
        # mediapipe gives x and z as shares of the width, y of the height.
        scale = np.array([width, height, width], np.float32)
        found = []
        for points, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True):
            self._names = tuple(shape.category_name for shape in shapes)
            xyz = np.array([(p.x, p.y, p.z) for p in points], np.float32) * scale
            found.append((xyz, np.array([shape.score for shape in shapes], np.float32)))
        return found

    def _choose(self, faces: list[np.ndarray]) -> int | None:
        if not faces:
            return None
        if self._last is None:
            return max(range(len(faces)), key=lambda i: face_width_px(faces[i]))
        last = self._last
        return min(range(len(faces)), key=lambda i: _apart(faces[i], last))


def count_small_faces(frames: Iterable[np.ndarray]) -> SmallFaces:
    """Look for faces that are too small for the whole picture's detector, frame by frame in tiles of it.

    The detector sees 192 pixels of whatever it is given, so a face under about a tenth of the picture escapes it. This
    says *why* a clip has no face; it takes half a second a frame. ``frames``: (H, W, 3) uint8 RGB.
    """
    mp, most, widest = _mediapipe(), 0, 0.0
    landmarker = _landmarker("IMAGE")
    try:
        for frame in frames:
            height, width = frame.shape[:2]
            tile = max(round(max(height, width) * TILE), 2)
            faces: list[np.ndarray] = []
            for top in range(0, max(height - tile // 2, 1), tile // 2):
                for left in range(0, max(width - tile // 2, 1), tile // 2):
                    part = np.ascontiguousarray(frame[top : top + tile, left : left + tile])
                    scale = np.array([part.shape[1], part.shape[0]], np.float32)
                    for points in landmarker.detect(mp.Image(mp.ImageFormat.SRGB, part)).face_landmarks:
                        face = np.array([(p.x, p.y) for p in points], np.float32) * scale + [left, top]
                        if all(_apart(face, other) > SAME_FACE for other in faces):
                            faces.append(face)
            most = max(most, len(faces))
            widest = max([widest, *(float(face_width_px(face)) for face in faces)])
    finally:
        landmarker.close()
    return SmallFaces(most, widest)


def face_width_px(landmarks_px: np.ndarray) -> np.ndarray:
    """How wide faces (..., N, 2 or 3) are, in pixels: the longer side of the landmarks' bounding box.

    The longer side, so that a face that turns away does not shrink.
    """
    return np.ptp(landmarks_px[..., :2], axis=-2).max(-1)


def _apart(face: np.ndarray, other: np.ndarray) -> float:
    """Distance of two faces' centres in widths of the larger one; infinite when one is over twice the other's size."""
    widths = face_width_px(face), face_width_px(other)
    if max(widths) > 2 * min(widths):
        return float("inf")
    return float(np.linalg.norm(face[:, :2].mean(0) - other[:, :2].mean(0)) / max(widths))


def _others(faces: list[np.ndarray], first: int) -> int:
    """How many other faces than ``first`` count."""
    width = face_width_px(faces[first])
    far = [i != first and _apart(face, faces[first]) > SAME_FACE for i, face in enumerate(faces)]
    return sum(f and bool(face_width_px(face) > OTHER_FACE * width) for f, face in zip(far, faces, strict=True))


def _landmarker(mode: str) -> Any:
    mp = _mediapipe()
    options = mp.tasks.vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(assets.fetch("face_landmarker"))),
        running_mode=mp.tasks.vision.RunningMode[mode],
        num_faces=MAX_FACES,
        output_face_blendshapes=True,
    )
    return mp.tasks.vision.FaceLandmarker.create_from_options(options)


@functools.cache
def _mediapipe() -> Any:
    try:
        import mediapipe
    except ImportError as error:
        raise ImportError("finding faces needs mediapipe: pip install mediapipe") from error
    return mediapipe
