"""Faces in single pictures, by mediapipe."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.faces.landmarker import (
    BLENDSHAPES,
    FACE_LANDMARKS,
    LANDMARKS,
    Landmarker,
    apart,
    counts_beside,
    face_width_px,
)


@pytest.fixture(scope="module")
def landmarker(assets: Path) -> Iterator[Landmarker]:
    with Landmarker() as found:
        yield found


@pytest.fixture(scope="module")
def portrait(assets: Path) -> np.ndarray:
    return np.asarray(Image.open(assets / "portraits" / "000055.jpg").convert("RGB"))


def test_a_face_has_its_landmarks_in_pixels(landmarker: Landmarker, portrait: np.ndarray) -> None:
    (face,) = landmarker.find(portrait)
    assert face.landmarks_px_N3.shape == (LANDMARKS, 3)
    assert face.blendshapes_B.shape == (len(face.names),) == (BLENDSHAPES,)
    assert "jawOpen" in face.names
    # The subject's right eye is on the picture's left; the nose lies between the eyes, above the lips, and is near.
    nose, right, left, lip = (face.landmarks_px_N3[i] for i in (1, 33, 263, 14))
    assert right[0] < nose[0] < left[0]
    assert right[1] < nose[1] < lip[1]
    assert nose[2] < min(right[2], left[2])
    # Irises come last and lie in the eyes.
    iris = face.landmarks_px_N3[FACE_LANDMARKS:, :2].reshape(2, 5, 2).mean(1)
    assert right[0] < iris[:, 0].min() < nose[0] < iris[:, 0].max() < left[0]


def test_landmarks_follow_the_picture(landmarker: Landmarker, portrait: np.ndarray) -> None:
    (face,) = landmarker.find(portrait)
    wider = np.pad(portrait, ((40, 20), (70, 10), (0, 0)))
    (moved,) = landmarker.find(wider)
    shift = moved.landmarks_px_N3[:, :2] - face.landmarks_px_N3[:, :2]
    assert np.median(shift, 0) == pytest.approx([70, 40], abs=3)


def test_nobody_is_found_where_nobody_is(landmarker: Landmarker) -> None:
    assert landmarker.find(np.zeros((120, 90, 3), np.uint8)) == []


AFTER_TRAINING = """
import signal, threading
import numpy as np
from jdap.faces.landmarker import Landmarker

def look():
    with Landmarker() as landmarker:
        for seed in range(40):
            landmarker.detect(np.random.default_rng(seed).integers(0, 255, (400, 400, 3), np.uint8))

look()
# A Trainer does this when it begins and when it ends; a landmarker of its callbacks comes in between.
signal.signal(signal.SIGPROF, signal.SIG_DFL)
look()
if {in_thread}:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
print("alive")
"""


@pytest.mark.parametrize("in_thread", [False, True])
def test_timers_of_mediapipe_do_not_end_the_process_after_a_training(assets: Path, in_thread: bool) -> None:
    code = AFTER_TRAINING.replace("{in_thread}", str(in_thread))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout.strip()) == (0, "alive"), ran.stderr[-500:]


def test_who_counts_beside_whom() -> None:
    square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])
    assert face_width_px(square * [0.5, 1.2]) == 12
    assert apart(square, square + np.array([20, 0])) == pytest.approx(2)
    assert apart(square, square * 3) == float("inf")
    assert counts_beside(square + np.array([20, 0]), square)
    assert not counts_beside(square + np.array([2, 0]), square)  # the same, found twice
    assert not counts_beside(square * 0.3 + [50, 0], square)  # in the background
    assert counts_beside(square * 0.45 + [50, 0], square)
