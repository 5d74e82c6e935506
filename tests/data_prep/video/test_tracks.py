"""Drawn faces that walk past each other: a track never changes the person."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from data_prep.video.tracks import MAX_GAP, Track, Tracker, aligned, overlap
from jdap.faces.landmarker import Face, face_box

HEIGHT, WIDTH, SIDE = 240, 640, 60
rng = np.random.default_rng(0)
#: Points of a face in a square of 1 x 1, with the eyes where they belong.
POINTS = rng.uniform(0, 1, (478, 3))
POINTS[:4, :2] = [[0, 0], [1, 0], [0, 1], [1, 1]]
POINTS[33], POINTS[263] = [0.2, 0.35, 0], [0.8, 0.35, 0]
#: What the faces of three people look like.
SKINS = rng.integers(0, 255, (3, SIDE, SIDE, 3)).astype(np.uint8)


def scene(places: Mapping[int, tuple[float, float]]) -> tuple[np.ndarray, list[Face]]:
    """A frame and its faces: person → left and top; who comes later in the dictionary is in front."""
    frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    faces = []
    for person, (left, top) in places.items():
        x, y = round(left), round(top)
        frame[y : y + SIDE, x : x + SIDE] = SKINS[person]
        points = (POINTS * SIDE + [x, y, 0]).astype(np.float32)
        faces.append(Face(points, np.zeros(52, np.float32), ("a",) * 52))
    return frame, faces


def follow(scenes: Sequence[Mapping[int, tuple[float, float]]], cuts: tuple[int, ...] = ()) -> list[Track]:
    tracker, tracks = Tracker(), []
    for k, places in enumerate(scenes):
        tracks += tracker.step(k, *scene(places), k in cuts)
    return sorted(tracks + tracker.end(), key=lambda t: (t.start, t.number))


def spans(tracks: list[Track]) -> list[tuple[int, int]]:
    return [(t.start, t.start + len(t.faces)) for t in tracks]


def test_two_people_are_two_tracks_from_left_to_right() -> None:
    tracks = follow([{1: (400 + k, 80), 0: (60 - k, 80)} for k in range(20)])
    assert spans(tracks) == [(0, 20), (0, 20)]
    assert [t.number for t in tracks] == [0, 1]
    assert tracks[0].faces[19].landmarks_px_N3[:, 0].mean() < 200  # type: ignore[union-attr]
    assert all(tracks[0].several)
    assert tracks[0].beside[0].tolist() == [[400, 80, 460, 140]]


def test_a_short_gap_is_bridged_and_a_long_one_ends_the_track() -> None:
    there = {0: (100.0, 80.0)}
    tracks = follow([there] * 5 + [{}] * MAX_GAP + [there] * 5)
    assert spans(tracks) == [(0, 10 + MAX_GAP)]
    assert [face is None for face in tracks[0].faces] == [False] * 5 + [True] * MAX_GAP + [False] * 5
    assert spans(follow([there] * 5 + [{}] * (MAX_GAP + 1) + [there] * 5)) == [(0, 5), (6 + MAX_GAP, 11 + MAX_GAP)]


@pytest.mark.parametrize("gap", [0, 3])
def test_another_person_in_the_same_place_is_another_track(gap: int) -> None:
    tracks = follow([{0: (100, 80)}] * 5 + [{}] * gap + [{1: (100, 80)}] * 5)
    assert spans(tracks) == [(0, 5), (5 + gap, 10 + gap)]
    assert tracks[0].number != tracks[1].number


def test_a_cut_and_a_jump_end_a_track() -> None:
    assert spans(follow([{0: (100, 80)}] * 10, cuts=(4,))) == [(0, 4), (4, 10)]
    assert spans(follow([{0: (100, 80)}] * 5 + [{0: (300, 80)}] * 5)) == [(0, 5), (5, 10)]


def test_people_who_cross_are_parted_and_never_exchanged() -> None:
    """One walks to the right, one to the left, 8 pixels a frame; when they hide one another nobody is sure."""
    tracks = follow([{0: (100 + 8 * k, 80), 1: (420 - 8 * k, 84)} for k in range(40)])
    # Where one face lies upon the other the two are found as one, which goes on for no more than a frame.
    clear = [t for t in tracks if not t.overlapped and len(t.faces) > 1]
    assert spans(clear) == [(0, 17), (0, 17), (24, 40), (24, 40)]
    for track in clear:
        across = [float(f.landmarks_px_N3[:, 0].mean()) for f in track.faces if f is not None]
        steps = np.diff(across)
        assert np.allclose(steps, steps[0], atol=1)  # whoever walks to the right goes on to the right
    assert len({t.number for t in tracks}) == len(tracks)
    hidden = [t for t in tracks if t.overlapped]
    assert hidden
    assert min(t.start for t in hidden) == 17
    assert max(t.start + len(t.faces) for t in hidden) == 24


def test_segments_are_parts_of_one_track() -> None:
    tracker = Tracker()
    for k in range(6):
        tracker.step(k, *scene({0: (100, 80)} if k != 5 else {}), cut=False)
    (first,) = tracker.segment(6)
    for k in range(6, 12):
        tracker.step(k, *scene({0: (100, 80)} if k != 6 else {}), cut=False)
    (second,) = tracker.end()
    assert first.number == second.number
    assert spans([first, second]) == [(0, 5), (7, 12)]


def test_a_face_that_is_found_twice_is_one() -> None:
    frame, faces = scene({0: (100, 80)})
    again = Face(faces[0].landmarks_px_N3 + 2, faces[0].blendshapes_B, faces[0].names)
    tracker = Tracker()
    tracker.step(0, frame, [*faces, again], cut=False)
    assert len(tracker.end()) == 1


def test_overlap_and_looks() -> None:
    box = np.array([0.0, 0.0, 10.0, 10.0])
    assert overlap(box, box + 20) == 0
    assert overlap(box, np.array([5.0, 0.0, 15.0, 10.0])) == pytest.approx(0.5)
    assert overlap(box, np.array([2.0, 2.0, 4.0, 4.0])) == pytest.approx(1)
    frame, (face, other) = scene({0: (100, 80), 1: (300, 80)})
    look = aligned(frame, face.landmarks_px_N3)
    assert np.linalg.norm(look) == pytest.approx(1, abs=1e-4)
    assert abs(float((look * aligned(frame, other.landmarks_px_N3)).sum())) < 0.3
    # Another light is the same look.
    assert float((look * aligned(frame // 2 + 20, face.landmarks_px_N3)).sum()) > 0.99
    assert face_box(face.landmarks_px_N3).tolist() == [100, 80, 160, 140]
