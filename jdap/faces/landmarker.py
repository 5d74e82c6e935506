"""mediapipe's Face Landmarker behind our types (the one file that imports mediapipe), and faces in single pictures.

Landmarks: N = 478 (468 of the face, 5 for each iris). Blendshapes: 52. Pictures: H x W.
"""

from __future__ import annotations

import functools
import signal
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from jdap.io.fetch import Asset, fetch
from jdap.io.quiet import hushed_stderr

LANDMARKS, BLENDSHAPES = 478, 52
#: Those of the face come first; the irises' say nothing of where the head is.
FACE_LANDMARKS = 468
#: How many faces are looked for; more than one costs about a fifth of the speed, more than two nothing more.
MAX_FACES = 4
#: A further face counts from this share of the first one's width; smaller ones stand in the background.
OTHER_FACE = 0.4
#: Two faces are one when their centres are nearer than this share of the width: the landmarker may find a face twice.
SAME_FACE = 0.3
#: Small faces are looked for in square tiles of this share of the picture's longer side, half overlapping.
TILE_SHARE = 0.25

#: The model file (Apache-2.0), which mediapipe does not ship.
MODEL_FILE = Asset(
    "face_landmarker",
    ("mediapipe/face_landmarker.task",),
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
)


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a picture.

    * ``landmarks_px_N3`` (478, 3) float32: x, y in pixels of the picture; z in the same scale, smaller = nearer
    * ``blendshapes_B`` (52,) float32 in [0, 1], and their ``names``: ARKit's in mediapipe's spelling (``jawOpen``); the
      first, ``_neutral``, is mediapipe's own
    """

    landmarks_px_N3: np.ndarray
    blendshapes_B: np.ndarray
    names: tuple[str, ...]


class Landmarker:
    """Face Landmarker for single pictures, or for the frames of one video; a context manager.

    Raises :class:`jdap.io.fetch.AssetError` where the model file cannot be had, and ImportError without mediapipe.
    """

    def __init__(self, video: bool = False) -> None:
        self._mp = mp = _mediapipe()
        _ignore_profiling_timers()
        options = mp.tasks.vision.FaceLandmarkerOptions(
            base_options=mp.tasks.BaseOptions(model_asset_path=str(fetch(MODEL_FILE))),
            running_mode=mp.tasks.vision.RunningMode.VIDEO if video else mp.tasks.vision.RunningMode.IMAGE,
            num_faces=MAX_FACES,
            output_face_blendshapes=True,
        )
        with hushed_stderr():
            self._landmarker = mp.tasks.vision.FaceLandmarker.create_from_options(options)
        self._pixels = np.empty((0, 0, 3), np.uint8)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the landmarker; left to its ``__del__`` it raises when the interpreter exits."""
        self._landmarker.close()

    def detect(self, rgb_HW3: np.ndarray, time_ms: int | None = None) -> list[Face]:
        """The faces of a picture (H, W, 3) uint8, in no order; a video's frames come with growing times."""
        _ignore_profiling_timers()
        # mediapipe leaves the array that it is given in a reference cycle (numpy's ``data_as``), for the collector to
        # find some hundred frames later: it gets a copy, always in the same array.
        if self._pixels.shape != rgb_HW3.shape:
            self._pixels = np.empty(rgb_HW3.shape, np.uint8)
        np.copyto(self._pixels, rgb_HW3)
        image = self._mp.Image(self._mp.ImageFormat.SRGB, self._pixels)
        if time_ms is None:
            result = self._landmarker.detect(image)
        else:
            result = self._landmarker.detect_for_video(image, time_ms)
        height, width = rgb_HW3.shape[:2]
        # mediapipe gives x and z as shares of the width, y of the height.
        scale = np.array([width, height, width], np.float32)
        return [
            Face(
                np.array([(p.x, p.y, p.z) for p in points], np.float32) * scale,
                np.array([shape.score for shape in shapes], np.float32),
                tuple(shape.category_name for shape in shapes),
            )
            for points, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True)
        ]

    def find(self, rgb_HW3: np.ndarray) -> list[Face]:
        """The people of a photo (H, W, 3) uint8, the widest face first; faces in the background are left out.

        Where the whole picture shows none, tiles of it are searched (:meth:`in_tiles`).
        """
        faces = self.detect(rgb_HW3) or self.in_tiles(rgb_HW3)
        kept: list[Face] = []
        for face in sorted(faces, key=lambda f: -face_width_px(f.landmarks_px_N3)):
            points, others = face.landmarks_px_N3, [other.landmarks_px_N3 for other in kept]
            if not kept or (counts_beside(points, others[0]) and all(apart(points, o) > SAME_FACE for o in others)):
                kept.append(face)
        return kept

    def in_tiles(self, rgb_HW3: np.ndarray) -> list[Face]:
        """Faces that are too small for the whole picture's detector, each once; takes half a second.

        The detector sees 192 pixels of whatever it is given, so a face under about a tenth of the picture escapes it.
        """
        height, width = rgb_HW3.shape[:2]
        tile = max(round(max(height, width) * TILE_SHARE), 2)
        faces: list[Face] = []
        for top in range(0, max(height - tile // 2, 1), tile // 2):
            for left in range(0, max(width - tile // 2, 1), tile // 2):
                for face in self.detect(rgb_HW3[top : top + tile, left : left + tile]):
                    points = face.landmarks_px_N3 + np.array([left, top, 0], np.float32)
                    if all(apart(points, other.landmarks_px_N3) > SAME_FACE for other in faces):
                        faces.append(Face(points, face.blendshapes_B, face.names))
        return faces


def face_width_px(landmarks_px: np.ndarray) -> np.ndarray:
    """How wide faces (..., N, 2 or 3) are, in pixels: the longer side of the landmarks' bounding box.

    The longer side, so that a face that turns away does not shrink.
    """
    return np.ptp(landmarks_px[..., :2], axis=-2).max(-1)


def face_box(landmarks_px: np.ndarray) -> np.ndarray:
    """(4,) left, top, right, bottom of a face (N, 2 or 3), in pixels: the landmarks' bounding box."""
    return np.concatenate([landmarks_px[:, :2].min(0), landmarks_px[:, :2].max(0)])


def apart(face: np.ndarray, other: np.ndarray) -> float:
    """Distance of two faces' centres in widths of the larger one; infinite when one is over twice the other's size."""
    widths = face_width_px(face), face_width_px(other)
    if max(widths) > 2 * min(widths):
        return float("inf")
    return float(np.linalg.norm(face[:, :2].mean(0) - other[:, :2].mean(0)) / max(widths))


def counts_beside(face: np.ndarray, first: np.ndarray) -> bool:
    """Whether a face is another one than the ``first`` and no small one in the background."""
    return apart(face, first) > SAME_FACE and bool(face_width_px(face) > OTHER_FACE * face_width_px(first))


def _ignore_profiling_timers() -> None:
    """Let the profiling timers of mediapipe's threads pass unheard.

    Its library gives each thread a timer that sends SIGPROF every 10 ms of its time, and once, when it is loaded, has
    that signal ignored. Python does not hear of it: whoever saves and restores signal handlers from Python (a Lightning
    Trainer at the end of a run) brings the default back, and the next timer ends the process.
    """
    if not hasattr(signal, "SIGPROF"):  # Windows
        return
    if threading.current_thread() is not threading.main_thread():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})  # threads that this one starts inherit it
    elif signal.getsignal(signal.SIGPROF) is signal.SIG_DFL:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


@functools.cache
def _mediapipe() -> Any:
    try:
        import mediapipe
    except ImportError as error:
        raise ImportError("finding faces needs mediapipe: pip install mediapipe", name="mediapipe") from error
    return mediapipe
