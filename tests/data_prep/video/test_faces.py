"""mediapipe behind our interface: faces found, looked for anew after a cut, small ones counted."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from videos import frames_of

from data_prep.clips.clip import cut_evenly
from data_prep.clips.steps.people import fill_gaps
from data_prep.video.faces import FaceFinder, count_small_faces
from jdap.faces.landmarker import LANDMARKS, face_width_px


def test_a_face_is_found_in_every_frame(assets: Path) -> None:
    frames = frames_of(assets / "videos" / "grid" / "bbaf2n.mpg", 4)
    with FaceFinder() as finder:
        found = [finder.find(frame) for frame in frames]
    assert [len(faces) for faces in found] == [1] * 4
    (face,) = found[0]
    xy = face.landmarks_px_N3[:, :2]
    assert face.landmarks_px_N3.shape == (LANDMARKS, 3)
    assert (xy > 0).all()
    assert (xy < [360, 288]).all()
    # The nose lies between the eyes and above the mouth; the subject's right eye is on the picture's left.
    nose, right, left, lip = (xy[i] for i in (1, 33, 263, 14))
    assert right[0] < nose[0] < left[0]
    assert right[1] < nose[1] < lip[1]
    assert face.landmarks_px_N3[1, 2] < face.landmarks_px_N3[234, 2]  # and is nearer than the cheek
    assert face.blendshapes_B.shape == (len(face.names),) == (52,)
    assert ((face.blendshapes_B >= 0) & (face.blendshapes_B <= 1)).all()


def test_after_a_cut_faces_are_looked_for_anew(assets: Path) -> None:
    one, other = (frames_of(assets / "videos" / "grid" / f"{name}.mpg", 3) for name in ("bbaf2n", "lwbsza"))
    left = [np.concatenate([a, np.zeros_like(a)], 1) for a in one]
    right = [np.concatenate([np.zeros_like(b), b], 1) for b in other]
    with FaceFinder() as finder:
        before = [finder.find(frame)[0].landmarks_px_N3[:, 0].mean() for frame in left]
        after = [finder.find(frame, cut=k == 0) for k, frame in enumerate(right)]
    assert max(before) < 360
    assert [len(faces) for faces in after] == [1] * 3
    assert after[0][0].landmarks_px_N3[:, 0].mean() > 360


def test_small_faces_are_found_in_tiles(assets: Path) -> None:
    frames = frames_of(assets / "videos" / "multi_face" / "four_faces_1080p.mp4", 1, first=25)
    small = count_small_faces(frames)
    assert small.count >= 2
    assert 40 < small.width_px < 160
    assert count_small_faces([np.zeros((90, 120, 3), np.uint8)]).count == 0


def test_face_width_does_not_shrink_with_a_turn() -> None:
    square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 12.0], [0.0, 12.0]])
    assert face_width_px(square) == 12
    assert face_width_px(square * [0.5, 1.0]) == 12


def test_gaps_are_filled_linearly() -> None:
    values = np.arange(12, dtype=np.float32).reshape(6, 2) ** 2
    holes = values.copy()
    holes[2:4] = np.nan
    filled = fill_gaps(holes)
    np.testing.assert_allclose(filled[2], values[1] + (values[4] - values[1]) / 3)
    np.testing.assert_allclose(filled[3], values[1] + (values[4] - values[1]) * 2 / 3)
    np.testing.assert_array_equal(filled[[0, 1, 4, 5]], values[[0, 1, 4, 5]])


@pytest.mark.parametrize("frames", [16, 32, 33, 75, 489])
def test_chunks_leave_nothing_over(frames: int) -> None:
    cut = cut_evenly(frames, 32)
    assert cut[0][0] == 0
    assert cut[-1][1] == frames
    assert all(a[1] == b[0] for a, b in pairwise(cut))
    lengths = [high - low for low, high in cut]
    assert max(lengths) <= 32
    assert min(lengths) >= 16
