"""The head in a photo, by the lens that its EXIF tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jdap.faces.landmarker import Landmarker
from jdap.photos.read import Photo, read_photo
from jdap.pose.heads import Heads
from jdap.pose.photo import fit_photo
from jdap.pose.pipeline import MOTION_SIDE_PX

WINDOW_PX = np.array([70.0, 0.0, 320.0])


@pytest.fixture(scope="module")
def heads(assets: Path):
    with Landmarker() as landmarker:
        yield Heads(landmarker)


@pytest.fixture(scope="module")
def photo(assets: Path) -> Photo:
    found = read_photo(assets / "portraits" / "astronaut.png")
    assert (found.width, found.height, found.focal_px) == (512, 512, None)
    return found


def test_a_known_lens_is_that_of_the_window(heads: Heads, photo: Photo) -> None:
    head = fit_photo(heads, replace(photo, focal_px=700.0), WINDOW_PX)
    zoom = MOTION_SIDE_PX / 320
    assert head.camera_px_3.tolist() == pytest.approx([700 * zoom, (256 - 70) * zoom, 256 * zoom], rel=1e-5)
    guess = fit_photo(heads, photo, WINDOW_PX)
    # A shorter lens takes the face from nearer, and it fits as well.
    assert head.translation_mm_3[2] < 0.5 * guess.translation_mm_3[2]
    assert head.error < 1.2 * guess.error


@pytest.mark.parametrize("focal_px", [20.0, 1e5], ids=["before the nose", "a telescope"])
def test_a_lens_that_cannot_be_is_not_believed(heads: Heads, photo: Photo, focal_px: float) -> None:
    guess, told = (fit_photo(heads, replace(photo, focal_px=f), WINDOW_PX) for f in (None, focal_px))
    assert told.camera_px_3.tolist() == guess.camera_px_3.tolist()
