"""What was cut out goes back where it came from."""

import io

import numpy as np
import pytest
from PIL import Image

from jdap.depth import NO_VALUE, from_uint16, to_uint16
from jdap.faces.crop import crop_frame
from jdap.photos.paste import full_depth, paste, png, preview
from jdap.photos.read import Photo

SIZE = 64


def photo(width: int = 300, height: int = 200, empty: np.ndarray | None = None) -> Photo:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Photo(rgb, empty)


def plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth at a place of the photo, in pixels."""
    return 0.003 * (x - 150) + 0.002 * (y - 100)


def crop_of_plane(window: np.ndarray) -> np.ndarray:
    """The plane at the centres of a crop's pixels."""
    at = (np.arange(SIZE) + 0.5) * window[2] / SIZE
    return plane(window[0] + at[None], window[1] + at[:, None]).astype(np.float32)


def test_encoding_is_that_which_the_metadata_states() -> None:
    depth = np.array([-1, -0.25, 0, 1, np.nan])
    value = to_uint16(depth)
    assert value.dtype == np.uint16
    assert value.tolist() == [1, 1 + round(0.375 * 65534), 32768, 65535, NO_VALUE]
    back = 2 * (value[:4].astype(float) - 1) / 65534 - 1
    assert np.abs(back - depth[:4]).max() < 1.6e-5
    np.testing.assert_allclose(from_uint16(value), depth, atol=1.6e-5)
    assert to_uint16(np.array([-3.0, 3.0])).tolist() == [1, 65535]


@pytest.mark.parametrize(
    "window",
    [(100.0, 50.0, 128.0), (93.37, 41.81, 150.13), (120.5, 80.25, 40.0), (-30.7, 20.0, 140.0), (210.2, 110.9, 120.0)],
    ids=["even", "fractional", "finer than the photo", "beyond the left", "beyond the lower right"],
)
def test_a_plane_comes_back_where_it_was(window: tuple[float, float, float]) -> None:
    at = np.array(window)
    pasted, left, top = paste(crop_of_plane(at), at, 300, 200)
    x = left + np.arange(pasted.shape[1]) + 0.5
    y = top + np.arange(pasted.shape[0]) + 0.5
    # Every pixel that is in the window whole, and no other.
    assert left - 1 < max(at[0], 0) <= left
    assert x[-1] + 0.5 <= min(at[0] + at[2], 300) < x[-1] + 1.5
    assert y[-1] + 0.5 <= min(at[1] + at[2], 200) < y[-1] + 1.5
    # Two crop pixels from the window's own edge on, cubic interpolation reproduces a plane.
    rim = 2.5 * max(at[2] / SIZE, 1)
    inside_x, inside_y = ((t > a + rim) & (t < a + at[2] - rim) for t, a in ((x, at[0]), (y, at[1])))
    assert inside_x.sum() * inside_y.sum() > 200
    wrong = pasted - plane(x[None], y[:, None])
    assert np.abs(wrong[np.ix_(inside_y, inside_x)]).max() < 2e-4
    assert np.abs(wrong).max() < 0.01


def test_pasting_inverts_cropping() -> None:
    # Through the crop that the model is shown: a photo whose red is its own column, blue its own row.
    v, u = np.mgrid[:200, :300]
    rgb = np.stack([u * 255 / 300, np.zeros_like(u), v * 255 / 200], 2).round().astype(np.uint8)
    window = np.array([61.4, 20.2, 150.0])
    seen = crop_frame(rgb, window, SIZE).astype(np.float32) / 255
    for channel in (0, 2):
        pasted, left, top = paste(seen[..., channel], window, 300, 200)
        h, w = pasted.shape
        wrong = pasted - rgb[top : top + h, left : left + w, channel] / 255
        assert np.abs(wrong[6:-6, 6:-6]).max() < 0.008


def test_full_depth_has_no_value_outside_and_where_nothing_is() -> None:
    empty = np.zeros((200, 300), bool)
    empty[60:70, 120:140] = True
    window = np.array([100.0, 50.0, 64.0])
    full = full_depth(np.zeros((SIZE, SIZE), np.float32), window, photo(empty=empty))
    assert full.shape == (200, 300)
    expected = np.zeros((200, 300), bool)
    expected[50:114, 100:164] = True
    np.testing.assert_array_equal(full != NO_VALUE, expected & ~empty)
    assert set(np.unique(full)) == {NO_VALUE, 32768}
    read = np.asarray(Image.open(io.BytesIO(png(full))))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, full)


def test_the_preview_shows_photo_and_depth_side_by_side() -> None:
    large = Photo(np.full((1500, 3000, 3), 120, np.uint8))
    window = np.array([900.0, 300.0, 900.0])
    depth = np.full((SIZE, SIZE), -1, np.float32)
    picture = np.asarray(preview(depth, window, large)).astype(int)
    assert picture.shape == (512, 2048, 3)
    scale = 1024 / 3000
    x, y = round(1350 * scale), round(750 * scale)
    assert (picture[y, x] == 120).all()
    assert picture[y, 1024 + x].sum() > 600  # near is bright
    assert (picture[10, 1024 + 10] == 40).all()  # the darkened photo
    assert (picture[round(300 * scale), x] == 255).all()  # the frame


def test_the_preview_of_a_head_of_which_no_pixel_is_left_is_the_photo() -> None:
    wide = Photo(np.full((300, 12000, 3), 120, np.uint8))
    picture = np.asarray(preview(np.full((SIZE, SIZE), -1, np.float32), np.array([5000.0, 100.0, 16.0]), wide))
    assert picture.shape == (26, 2048, 3)
    assert (picture[:, 1024:] == 40).all()
