"""The crop and its camera must be one transform: what projects to a pixel before must be seen there after."""

import numpy as np
import pytest
import torch

from jdap.faces.crop import (
    Region,
    crop_frame,
    cut,
    head_windows,
    padded_share,
    resample_batch,
    to_window,
    window_cameras,
)
from jdap.geometry import PinholeCamera, project

FPS = 25.0


def face_at(centres: np.ndarray, side: float = 80.0) -> np.ndarray:
    """Landmarks (F, 4, 2): the corners of square faces."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
    return (centres[:, None] + corners).astype(np.float32)


def test_a_still_head_has_one_window_around_it() -> None:
    rng = np.random.default_rng(0)
    landmarks = face_at(np.array([300.0, 240.0]) + rng.normal(0, 2, (50, 2)))
    windows = head_windows(landmarks, 640, 480, FPS)
    assert np.ptp(windows, axis=0).max() == 0
    left, top, size = windows[0]
    assert left < 260
    assert top < 200
    assert left + size > 340
    assert top + size > 280
    assert top + size / 2 < 240  # hair needs more room than the chin
    assert size == pytest.approx(80 * 1.9, rel=0.1)


def test_a_moving_head_is_followed_smoothly_at_one_size() -> None:
    walk = np.column_stack([np.linspace(150, 500, 100), np.full(100, 240.0)])
    landmarks = face_at(walk + np.random.default_rng(1).normal(0, 3, walk.shape))
    windows = head_windows(landmarks, 640, 480, FPS)
    assert np.ptp(windows[:, 2]) == 0
    centre = windows[:, 0] + windows[:, 2] / 2
    assert np.abs(centre - walk[:, 0]).max() < 5
    assert np.abs(np.diff(centre, 2)).max() < 0.5  # the head jitters by 3 px, the window does not


def test_windows_stay_inside_a_large_picture_and_shrink_in_a_tight_one() -> None:
    windows = head_windows(face_at(np.array([[50.0, 60.0]] * 5)), 640, 480, FPS)
    assert (windows[:, :2] >= 0).all()
    assert padded_share(windows, 640, 480).max() == 0
    tight = head_windows(face_at(np.array([[60.0, 60.0]] * 5)), 120, 120, FPS)
    assert tight[0].tolist() == [0, 0, 120]
    small = head_windows(face_at(np.array([[40.0, 40.0]] * 5)), 80, 80, FPS)
    assert small[0, 2] == pytest.approx(80 * 1.35)
    assert 0 < padded_share(small, 80, 80)[0] < 0.5


def test_crop_and_camera_are_one_transform() -> None:
    # A picture that says at each pixel centre where it is.
    height, width, size = 200, 260, 64
    v, u = np.mgrid[:height, :width] + 0.5
    frame = np.stack([u, v, np.zeros_like(u)], -1).round().clip(0, 255).astype(np.uint8)
    window = np.array([[30.25, 40.5, 120.0]])
    cropped = crop_frame(frame, window[0], size).astype(float)
    grid = (np.arange(size) + 0.5) * 120 / size
    assert np.abs(cropped[10:-10, 10:-10, 0] - (30.25 + grid)[None, 10:-10]).max() <= 1.0
    assert np.abs(cropped[10:-10, 10:-10, 1] - (40.5 + grid)[10:-10, None]).max() <= 1.0

    camera = PinholeCamera(500.0, 130.0, 100.0, width, height)
    points = torch.tensor([[[10.0, -20.0, 700.0], [-60.0, 5.0, 650.0]]])
    before = project(points, camera.as_tensor()[None]).numpy()
    after = project(points, torch.from_numpy(window_cameras(camera, window, size))).numpy()
    np.testing.assert_allclose(to_window(before, window, size), after, atol=1e-3)


def test_outside_of_the_picture_its_edge_is_repeated() -> None:
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[:, 20:] = 200
    cropped = crop_frame(frame, np.array([-20.0, 0.0, 60.0]), 60)
    assert (cropped[:, :18] == 0).all()
    assert cropped[20, 45, 0] == 200
    assert (cropped[50:, 45:58] == 200).all()  # below the picture
    assert padded_share(np.array([[-20.0, 0.0, 60.0]]), 40, 40)[0] == pytest.approx(1 - 40 * 40 / 3600)


#: Inside, over every edge, larger than the picture, enlarged and made smaller.
WINDOWS = np.array(
    [[30.25, 40.5, 60.0], [-20.3, -10.0, 90.0], [90.0, 60.6, 80.2], [-30.0, -40.0, 230.0], [10.0, 10, 15]]
)


@pytest.mark.parametrize("black", [False, True])
def test_a_batch_on_a_device_is_what_pillow_makes(black: bool) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (120, 150, 3)).astype(np.uint8)
    cuts = [cut(Region.whole(frame), window, 48, black) for window in WINDOWS]
    made = resample_batch(cuts, 48, "cpu")
    for picture, window in zip(made, WINDOWS, strict=True):
        assert np.abs(picture.astype(int) - crop_frame(frame, window, 48, black)).max() <= 1


@pytest.mark.parametrize("black", [False, True])
def test_what_is_kept_of_a_picture_gives_the_same_crop(black: bool) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (120, 150, 3)).astype(np.uint8)
    region = Region(frame[20:, 15:130], 15, 20, 150, 120)
    held = [region.holds(window, 48) for window in WINDOWS]
    assert held == [True, False, False, False, False]
    assert np.array_equal(cut(region, WINDOWS[0], 48, black).resampled(48), crop_frame(frame, WINDOWS[0], 48, black))
    # At the picture's own edge there is no more to be had.
    corner, window = Region(frame[50:, 70:], 70, 50, 150, 120), WINDOWS[2]
    assert corner.holds(window, 48)
    assert np.array_equal(cut(corner, window, 48, black).resampled(48), crop_frame(frame, window, 48, black))
