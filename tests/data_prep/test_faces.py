"""mediapipe behind our interface: one face followed, several counted, none found."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from data_prep.faces import LANDMARKS, FaceTracker, count_small_faces, face_width_px
from data_prep.stages import MAX_GAP, cut_evenly, fill_gaps, unbroken
from data_prep.video import FrameReader, open_video


def frames_of(path: Path, count: int, first: int = 0) -> list[np.ndarray]:
    return list(FrameReader(open_video(path)).read(first, first + count))


def test_one_face_is_followed(assets: Path) -> None:
    frames = frames_of(assets / "videos" / "grid" / "bbaf2n.mpg", 6)
    seen: list[int] = []
    with FaceTracker() as tracker:
        track = tracker.track(frames, lambda k, frame, points: seen.append(k if points is not None else -1))
        more = tracker.track(frames[:2])
    assert seen == list(range(6))
    assert track.faces_F.tolist() == [1] * 6
    assert not track.jump_F.any()
    assert track.landmarks_px_FN3.shape == (6, LANDMARKS, 3)
    xy = track.landmarks_px_FN3[..., :2]
    assert (xy > 0).all()
    assert (xy < [360, 288]).all()
    # The nose lies between the eyes and above the mouth; the subject's right eye is on the picture's left.
    nose, right, left, lip = (xy[0, i] for i in (1, 33, 263, 14))
    assert right[0] < nose[0] < left[0]
    assert right[1] < nose[1] < lip[1]
    assert track.landmarks_px_FN3[0, 1, 2] < track.landmarks_px_FN3[0, 234, 2]  # and is nearer than the cheek
    assert track.blendshapes_FB.shape == (6, len(track.blendshape_names)) == (6, 52)
    assert ((track.blendshapes_FB >= 0) & (track.blendshapes_FB <= 1)).all()
    assert more.faces_F.tolist() == [1, 1]


def test_several_faces_are_counted_and_a_cut_is_a_jump(assets: Path) -> None:
    one = frames_of(assets / "videos" / "grid" / "bbaf2n.mpg", 3)
    other = frames_of(assets / "videos" / "grid" / "lwbsza.mpg", 3)
    both = [np.concatenate([a, b], 1) for a, b in zip(one, other, strict=True)]
    blank = np.zeros_like(both[0])
    only_left = [np.concatenate([a, np.zeros_like(a)], 1) for a in one]
    only_right = [np.concatenate([np.zeros_like(b), b], 1) for b in other]
    with FaceTracker() as tracker:
        assert tracker.track(both).faces_F.tolist() == [2, 2, 2]
    with FaceTracker() as tracker:
        track = tracker.track([blank, *only_left, *only_right])
    assert track.faces_F[0] == 0
    assert np.isnan(track.landmarks_px_FN3[0]).all()
    assert track.faces_F[1] == 1
    found = np.nonzero(track.faces_F)[0]
    assert track.jump_F[found[found >= 4][0]]
    assert not track.jump_F[:4].any()


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


def test_runs_end_at_long_gaps_and_jumps() -> None:
    found = np.ones(40, bool)
    found[:3] = found[10:13] = found[20 : 20 + MAX_GAP + 1] = False
    jump = np.zeros(40, bool)
    jump[33] = True
    assert unbroken(found, jump) == [(3, 20), (20 + MAX_GAP + 1, 33), (33, 40)]
    assert unbroken(np.zeros(5, bool), np.zeros(5, bool)) == []


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
