"""The head in a photo, by the lens that its EXIF tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jdap.photos.read import Photo
from jdap.pose.change import Change
from jdap.pose.heads import Heads
from jdap.pose.photo import Moment, changed, fit_photo
from jdap.pose.pipeline import MOTION_SIDE_PX

WINDOW_PX = np.array([70.0, 0.0, 320.0])


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


def test_the_pose_that_one_sees_is_the_same_wherever_in_the_photo_the_head_is(heads: Heads, photo: Photo) -> None:
    guess = fit_photo(heads, photo, WINDOW_PX)
    beside = np.zeros((900, 1200, 3), np.uint8)
    beside[:512, 688:] = photo.rgb_HW3  # to the right, and above the middle
    whole = replace(photo, rgb_HW3=beside, focal_px=900.0)
    told = fit_photo(heads, whole, WINDOW_PX + np.array([688.0, 0.0, 0.0]))

    def turn_deg(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.rad2deg(torch.acos(((a.T @ b).trace() - 1) / 2)))

    assert turn_deg(guess.rotation_33, told.rotation_33) > 20
    assert turn_deg(guess.seen_33, told.seen_33) < 6
    ray = told.pivot_mm_3 / told.pivot_mm_3.norm()
    torch.testing.assert_close(told.sight_33[:, 2], ray)
    torch.testing.assert_close(told.sight_33 @ told.sight_33.T, torch.eye(3), atol=1e-5, rtol=0)
    same = Moment(None, torch.eye(3), guess.seen_33)
    moved = changed(heads, told, same, Change())
    as_it_is = heads.vertices(told)
    assert float((moved - as_it_is).norm(dim=1).max()) < 25  # of a head 250 mm high; turned by 25 degrees it is 60
