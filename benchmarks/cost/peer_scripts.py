"""What is usually written to read a video at 25 fps and to prepare it: short scripts on libraries that all have.

Nothing here is of this project, but for the model file of mediapipe that both sides use. A script looks for one face in
every frame, cuts a square around it and writes a file for each. It fits no head, has no depth and no sound, and rates
nothing.

Shapes: pictures (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from jdap.faces.landmarker import MODEL_FILE
from jdap.io.fetch import fetch
from jdap.io.quiet import hushed_stderr
from jdap.units import FPS

#: The square around a face is so many times as wide as its landmarks.
_AROUND = 1.6


def by_decord(path: Path) -> Iterator[np.ndarray]:
    """Frames at 25 fps, each asked for by its number."""
    import decord

    reader = decord.VideoReader(str(path))
    for index in at_25(len(reader), reader.get_avg_fps()):
        yield reader[index].asnumpy()


def by_cv2(path: Path) -> Iterator[np.ndarray]:
    """Frames at 25 fps; those that are not shown are passed over unconverted."""
    capture = cv2.VideoCapture(str(path))
    at = -1
    for wanted in at_25(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)):
        while at < wanted and capture.grab():
            at += 1
        whole, picture = capture.retrieve()
        if whole:
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    capture.release()


def by_pyav(path: Path) -> Iterator[np.ndarray]:
    """Frames at 25 fps; those that are not shown are passed over unconverted."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = dict.fromkeys(at_25(stream.frames, float(stream.average_rate or Fraction(FPS))), 0)
        for index in at_25(stream.frames, float(stream.average_rate or Fraction(FPS))):
            shown[index] += 1
        for index, frame in enumerate(container.decode(stream)):
            if count := shown.get(index, 0):
                yield from itertools.repeat(frame.to_ndarray(format="rgb24"), count)


def at_25(frames: int, fps: float) -> list[int]:
    """Which of a file's frames 25 fps shows."""
    return [min(round(k * fps / FPS), frames - 1) for k in range(round(frames * FPS / fps))]


def prepare(path: Path, folder: Path, size_px: int, tracks: bool) -> int:
    """JPEGs of the face and its landmarks in a folder; how many frames have a face.

    ``tracks``: mediapipe's mode for video, which looks where the face was in the frame before.
    """
    import mediapipe as mp

    vision = mp.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(fetch(MODEL_FILE))),
        running_mode=vision.RunningMode.VIDEO if tracks else vision.RunningMode.IMAGE,
    )
    found: list[np.ndarray] = []
    with hushed_stderr():
        landmarker = vision.FaceLandmarker.create_from_options(options)
    for k, rgb in enumerate(by_decord(path)):
        image = mp.Image(mp.ImageFormat.SRGB, rgb)
        result = landmarker.detect_for_video(image, k * 1000 // FPS) if tracks else landmarker.detect(image)
        if result.face_landmarks:
            points = landmarks_px(result.face_landmarks[0], rgb)
            cv2.imwrite(str(folder / f"{k:06d}.jpg"), cv2.cvtColor(cut(rgb, points, size_px), cv2.COLOR_RGB2BGR))
            found.append(points)
    landmarker.close()
    np.save(folder / "landmarks.npy", np.array(found))
    return len(found)


def landmarks_px(points: Any, rgb: np.ndarray) -> np.ndarray:
    """(N, 2) x, y in pixels of the picture."""
    return np.array([(point.x, point.y) for point in points]) * rgb.shape[1::-1]


def cut(rgb: np.ndarray, points_N2: np.ndarray, size_px: int) -> np.ndarray:
    """The square around the landmarks, as far as the picture goes, in the size wanted."""
    low, high = points_N2.min(0), points_N2.max(0)
    centre, half = (low + high) / 2, _AROUND * (high - low).max() / 2
    left, top = np.maximum(centre - half, 0).astype(int)
    right, bottom = (centre + half).astype(int)
    return cv2.resize(rgb[top:bottom, left:right], (size_px, size_px), interpolation=cv2.INTER_AREA)
