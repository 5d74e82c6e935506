"""The depth of the head that is fitted to a photo."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jdap.depth import NO_DEPTH
from jdap.faces.crop import crop_frame
from jdap.photos.read import Photo
from jdap.pose.depth import head_in_photo, head_in_picture
from jdap.pose.heads import Heads

WINDOW_PX = np.array([70.0, 0.0, 320.0])


def test_the_head_stands_where_the_face_is(heads: Heads, photo: Photo) -> None:
    head = head_in_photo(heads, photo, WINDOW_PX, 64)
    assert head is not None
    relief, face = head
    assert relief.shape == face.shape == (1, 1, 64, 64)
    assert (relief.min(), relief.max()) == (-1, NO_DEPTH)
    near_v, near_u = (relief[0, 0] < -0.5).nonzero().float().mean(0).tolist()
    assert near_u / 64 == pytest.approx((226 - 70) / 320, abs=0.1)  # between forehead and chin
    assert near_v / 64 == pytest.approx(120 / 320, abs=0.12)
    assert (relief[0, 0, :, :4] == NO_DEPTH).all()  # beside the head
    whole = relief < NO_DEPTH
    assert 0.2 < float(face.sum() / whole.sum()) < 0.8  # scalp, ears and neck are no face
    assert (whole | ~face).float().mean() > 0.98
    v, u = face[0, 0].nonzero().float().mean(0).tolist()
    assert (u / 64, v / 64) == (pytest.approx((226 - 70) / 320, abs=0.1), pytest.approx(120 / 320, abs=0.12))
    large = head_in_photo(heads, photo, WINDOW_PX, 128)
    assert large is not None
    small = torch.nn.functional.avg_pool2d(large.relief, 2)
    assert float((small - relief).abs().median()) < 0.02


def test_a_small_picture_gets_the_same_head(heads: Heads, photo: Photo) -> None:
    whole = head_in_photo(heads, photo, WINDOW_PX, 128)
    assert whole is not None
    rgb = torch.from_numpy(crop_frame(photo.rgb_HW3, WINDOW_PX, 128).copy()).permute(2, 0, 1) / 127.5 - 1
    alone = head_in_picture(heads, rgb)
    face = slice(40, 80)
    assert float((alone.relief - whole.relief)[0, 0, 20:70, face].abs().mean()) < 0.25


def test_without_a_face_there_is_none(heads: Heads, photo: Photo) -> None:
    assert head_in_photo(heads, photo, np.array([0.0, 380.0, 100.0]), 64) is None
    nothing = head_in_picture(heads, torch.zeros(3, 64, 64))
    assert (nothing.relief == NO_DEPTH).all()
    assert not nothing.found.any()
