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
    assert head.shape == (1, 1, 64, 64)
    assert (head.min(), head.max()) == (-1, NO_DEPTH)
    near_v, near_u = (head[0, 0] < -0.5).nonzero().float().mean(0).tolist()
    assert near_u / 64 == pytest.approx((226 - 70) / 320, abs=0.1)  # between forehead and chin
    assert near_v / 64 == pytest.approx(120 / 320, abs=0.12)
    assert (head[0, 0, :, :4] == NO_DEPTH).all()  # beside the head
    large = head_in_photo(heads, photo, WINDOW_PX, 128)
    assert large is not None
    small = torch.nn.functional.avg_pool2d(large, 2)
    assert float((small - head).abs().median()) < 0.02


def test_a_small_picture_gets_the_same_head(heads: Heads, photo: Photo) -> None:
    whole = head_in_photo(heads, photo, WINDOW_PX, 128)
    assert whole is not None
    rgb = torch.from_numpy(crop_frame(photo.rgb_HW3, WINDOW_PX, 128).copy()).permute(2, 0, 1) / 127.5 - 1
    alone = head_in_picture(heads, rgb)
    face = slice(40, 80)
    assert float((alone - whole)[0, 0, 20:70, face].abs().mean()) < 0.25


def test_without_a_face_there_is_none(heads: Heads, photo: Photo) -> None:
    assert head_in_photo(heads, photo, np.array([0.0, 380.0, 100.0]), 64) is None
    nothing = head_in_picture(heads, torch.zeros(3, 64, 64))
    assert (nothing == NO_DEPTH).all()
