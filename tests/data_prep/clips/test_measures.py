"""Scores of what is not seen of a face, and of pictures that show nothing new."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.clips.measures import BARE_POINTS, SKIN_POINTS, occluded, outside, repeats
from data_prep.clips.quality import THRESHOLDS, clip_scores, why_not

LANDMARKS = 478


def test_landmarks_outside_of_the_picture_are_counted() -> None:
    points = np.full((2, LANDMARKS, 3), 50.0, np.float32)
    points[1, :117, 0] = -3
    points[1, 468:, 0] = -3  # irises do not count
    assert outside(points, 100, 80) == pytest.approx([0, 0.25])
    points[0, 0, 1] = 80.5
    assert outside(points, 100, 80)[0] == pytest.approx(1 / 468)


def test_one_frame_outside_holds_the_clip() -> None:
    score = np.zeros(1500, np.float32)
    assert why_not(clip_scores({"outside": score}), THRESHOLDS) == ""
    score[700] = 0.2
    assert why_not(clip_scores({"outside": score}), THRESHOLDS) == "outside 0.2 is over 0.1"


def test_hair_over_half_of_the_face_holds_the_clip() -> None:
    rng = np.random.default_rng(0)
    skin = np.array([200, 150, 120]) + rng.integers(-12, 12, (30, LANDMARKS, 3))
    colours = skin.astype(np.uint8)
    assert why_not(clip_scores({"occluded": occluded(colours)}), THRESHOLDS) == ""
    half = [p for k, p in enumerate(SKIN_POINTS) if k % 2 and p not in BARE_POINTS]
    colours[10:13, half] = (30, 22, 18)  # a tenth of the clip, black hair
    assert why_not(clip_scores({"occluded": occluded(colours)}), THRESHOLDS).startswith("occluded 0.")


def test_pictures_that_show_nothing_new() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 250, (60, 80, 3), np.uint8)
    assert not repeats(frame, None)
    assert repeats(frame, frame)
    assert repeats(frame + np.uint8(1), frame)
    other = frame.copy()
    other[20:28, 40:48] += 5
    assert not repeats(other, frame)
