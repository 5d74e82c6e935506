"""Our PNG files, read by Pillow, which checks every checksum of theirs."""

import io

import numpy as np
import pytest
from PIL import Image

from jdap.shards.png import encode_runs, encode_smooth


def read(data: bytes) -> Image.Image:
    Image.open(io.BytesIO(data)).verify()
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (5, 13), (64, 64)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_any_values_come_back_through_the_filter(size, kind):
    values = np.random.default_rng(0).integers(0, np.iinfo(kind).max, size, kind, endpoint=True)
    picture = read(encode_smooth(values))
    assert picture.mode == {np.uint8: "L", np.uint16: "I;16"}[kind]
    assert np.array_equal(np.asarray(picture), values)


@pytest.mark.parametrize("size", [(1, 1), (3, 8), (4, 9), (5, 15), (64, 64)])
@pytest.mark.parametrize("kind", [np.bool_, np.uint8])
def test_any_mask_comes_back(size, kind):
    values = np.random.default_rng(0).integers(0, 2 if kind is np.bool_ else 256, size).astype(kind)
    picture = read(encode_runs(values))
    assert picture.mode == {np.bool_: "1", np.uint8: "L"}[kind]
    assert np.array_equal(np.asarray(picture), values)


def test_a_view_is_written_as_what_it_shows():
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    assert encode_smooth(values[::2, ::-1]) == encode_smooth(values[::2, ::-1].copy())
    assert encode_runs((values % 2000 == 0).T) == encode_runs((values % 2000 == 0).T.copy())


def test_a_smooth_surface_takes_less_than_pillow_needs():
    v, u = np.mgrid[:256, :256] / 256 - 0.5
    depth = np.rint(6000 + 900 * np.hypot(u, v) + 200 * np.sin(9 * u) * np.cos(7 * v)).astype(np.uint16)
    pillow = io.BytesIO()
    Image.fromarray(depth).save(pillow, "PNG", compress_level=5)
    assert len(encode_smooth(depth)) < 0.95 * len(pillow.getvalue())
