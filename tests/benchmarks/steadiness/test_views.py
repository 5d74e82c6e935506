"""Views of a photo: what they show, and that depth comes back to where it was."""

import numpy as np
import pytest
import torch

from benchmarks.steadiness.views import CHECK_GREY, CHECK_JITTERED, CHECK_MIRRORED, VIEWS, PhotoView, colour_seed

SIZE = 64
WINDOW = np.array([30.0, 20.0, 100.0])


def hill(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Depth of places in the photo, smooth and without any symmetry."""
    return np.sin(u / 31) + 0.5 * np.cos(v / 23) + 0.004 * u


def places(view: PhotoView, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where in the photo a view's pixels are, worked out by hand."""
    left, top, side = WINDOW
    middle_u, middle_v = left + side / 2 + view.shift[0] * side, top + side / 2 + view.shift[1] * side
    offsets = ((np.arange(size) + 0.5) / size - 0.5) * side * view.zoom
    across = middle_u + (-offsets if view.mirrored else offsets)
    return np.meshgrid(across, middle_v + offsets)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.check} {view.shift} {view.zoom}")
def test_depth_of_a_view_comes_back_to_the_pixels_of_the_photo(view: PhotoView) -> None:
    depth = torch.from_numpy(hill(*places(view, SIZE)))[None, None]
    back, seen = view.back(depth)
    expected = torch.from_numpy(hill(*places(VIEWS[0], SIZE)))[None, None]
    inside = seen[0, 0].numpy().copy()
    # A pixel at the rim has no neighbour to interpolate with.
    inside[[0, -1]] = inside[:, [0, -1]] = False
    assert inside.mean() > 0.75
    np.testing.assert_allclose(back[0, 0].numpy()[inside], expected[0, 0].numpy()[inside], atol=0.02)
    # What a narrower or a moved view does not show is told.
    shown = (1 - abs(view.shift[0])) * (1 - abs(view.shift[1])) * min(1, view.zoom) ** 2
    assert float(seen.float().mean()) == pytest.approx(shown, abs=0.04)


def test_pictures_are_cut_as_depth_is_brought_back() -> None:
    u, v = np.meshgrid(np.arange(200) + 0.5, np.arange(160) + 0.5)
    grey = 128 + 60 * hill(u, v) / 2
    photo = np.repeat(grey[..., None], 3, axis=2).round().astype(np.uint8)
    for view in VIEWS:
        if view.check == CHECK_JITTERED:
            continue
        picture = view.picture(photo, WINDOW, SIZE, seed=0)
        expected = 128 + 60 * hill(*places(view, SIZE)) / 2
        assert np.abs(picture[..., 1] - expected).max() < 3


def test_colours_are_taken_out_or_changed_by_the_photos_name() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (160, 200, 3)).astype(np.uint8)
    grey, jittered = (next(view for view in VIEWS if view.check == check) for check in (CHECK_GREY, CHECK_JITTERED))
    picture = grey.picture(photo, WINDOW, SIZE, seed=0).astype(int)
    assert np.ptp(picture, axis=2).max() <= 1
    one, again, other = (jittered.picture(photo, WINDOW, SIZE, colour_seed(0, name)) for name in ("a", "a", "b"))
    assert (one == again).all()
    assert np.abs(one.astype(int) - other).mean() > 1
    mirrored = next(view for view in VIEWS if view.check == CHECK_MIRRORED).picture(photo, WINDOW, SIZE, seed=0)
    assert (mirrored[:, ::-1] == VIEWS[0].picture(photo, WINDOW, SIZE, seed=0)).all()
