"""What the first pass keeps: around faces, all of small pictures, and nothing once it is too much."""

import numpy as np
import pytest

from data_prep.clips import kept
from data_prep.clips.kept import KeptFrames

FRAME = np.random.default_rng(0).integers(0, 256, (400, 600, 3)).astype(np.uint8)
FACE = np.array([[280.0, 180], [320, 220]])
WINDOW = np.array([260.0, 160, 80])


def test_a_face_is_kept_with_what_is_around_it() -> None:
    frames = KeptFrames()
    frames.add(7, FRAME, [FACE])
    region = frames.region(7, WINDOW, 64)
    assert region is not None
    assert region.rgb_HW3.shape == (120, 120, 3)
    assert np.array_equal(region.rgb_HW3, FRAME[140:260, 240:360])
    assert frames.region(7, WINDOW + np.array([60, 0, 0]), 64) is None
    assert frames.region(8, WINDOW, 64) is None


def test_a_picture_that_is_hardly_larger_is_kept_whole() -> None:
    frames, wide = KeptFrames(), 5 * (FACE - [300, 200]) + [300, 200]
    frames.add(0, FRAME, [wide])
    region = frames.region(0, np.array([0.0, 0, 390]), 64)
    assert region is not None
    assert region.rgb_HW3 is FRAME


def test_nothing_is_kept_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT_BYTES", 2 * 120 * 120 * 3)
    frames = KeptFrames()
    for k in range(2):
        frames.add(k, FRAME, [FACE])
    assert frames.region(1, WINDOW, 64) is not None
    for k in range(2, 5):
        frames.add(k, FRAME, [FACE])
    assert all(frames.region(k, WINDOW, 64) is None for k in range(5))
