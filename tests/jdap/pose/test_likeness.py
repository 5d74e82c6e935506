"""Drawn portraits that keep the face of their reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from jdap.blur import gaussian_blur
from jdap.faces.crop import crop_frame
from jdap.photos.read import Photo
from jdap.pipelines.pictures import Portrait
from jdap.pose.depth import head_in_picture
from jdap.pose.heads import Heads
from jdap.pose.likeness import ReferenceFace, face_in_photo, face_in_picture, keep_likeness, reference_mover

WINDOW_PX = np.array([125.0, 14.0, 200.0])
SIDE = 128
#: Rows and columns of the middle of the face, and of the picture's corner.
FACE, CORNER = (..., slice(44, 90), slice(44, 84)), (..., slice(0, 20), slice(0, 20))
BACKGROUND = torch.ones(1, 1, SIDE, SIDE)


@pytest.fixture(scope="module")
def true(photo: Photo) -> Tensor:
    """The head's window, (1, 3, S, S) in [-1, 1]."""
    crop = crop_frame(photo.rgb_HW3, WINDOW_PX, SIDE).copy()
    return torch.from_numpy(crop).permute(2, 0, 1)[None] / 127.5 - 1


@pytest.fixture(scope="module")
def reference(heads: Heads, photo: Photo) -> ReferenceFace:
    found = face_in_photo(heads, photo, WINDOW_PX)
    assert found is not None
    return found


def off(made: Tensor, true: Tensor) -> float:
    return float((made - true)[FACE].square().mean().sqrt())


def test_a_blurred_face_is_sharp_again_and_the_rest_stays(heads: Heads, true: Tensor, reference: ReferenceFace) -> None:
    def sharpness(rgb: Tensor) -> float:
        return float((rgb - gaussian_blur(rgb, 1.0))[FACE].square().mean())

    blurred = gaussian_blur(true, 2.0)
    made = keep_likeness(heads, Portrait(blurred, BACKGROUND), [reference])
    assert made.kept.tolist() == [True]
    assert sharpness(made.rgb) > 5 * sharpness(blurred)
    assert torch.equal(made.rgb[CORNER], blurred[CORNER])


def test_a_portrait_that_is_its_own_reference_stays(heads: Heads, true: Tensor, reference: ReferenceFace) -> None:
    made = keep_likeness(heads, Portrait(true, BACKGROUND), [reference]).rgb
    assert off(made, true) < 0.05 < 0.2 * off(true.flip(3), true)


def test_the_light_is_that_of_the_drawing(heads: Heads, true: Tensor, reference: ReferenceFace) -> None:
    darker = (gaussian_blur(true, 1.0) - 0.3).clamp(-1, 1)
    made = keep_likeness(heads, Portrait(darker, BACKGROUND), [reference]).rgb
    assert float((made - darker)[FACE].mean()) == pytest.approx(0, abs=0.03)


def test_the_head_is_where_it_was_drawn(heads: Heads, true: Tensor, reference: ReferenceFace) -> None:
    moved = torch.roll(true, (6, -5), (2, 3))
    made = keep_likeness(heads, Portrait(moved, BACKGROUND), [reference]).rgb.roll((-6, 5), (2, 3))
    assert off(made, true) < 0.25 * off(made.roll((-6, 5), (2, 3)), true)


def test_a_face_that_only_the_depth_shows_is_enough(heads: Heads, true: Tensor, reference: ReferenceFace) -> None:
    grey = torch.full_like(true, 0.1)
    depth = head_in_picture(heads, true[0]).relief
    made = keep_likeness(heads, Portrait(grey, depth), [reference])
    assert made.kept.tolist() == [True]
    inner = (made.rgb - true)[FACE]
    # Its features are there, on the light that was drawn: a grey one.
    assert float(torch.corrcoef(torch.stack([made.rgb[FACE].flatten(), true[FACE].flatten()]))[0, 1]) > 0.5
    assert float((inner - inner.mean()).std()) < float(true[FACE].std())


def test_without_a_face_pictures_stay(heads: Heads, true: Tensor, reference: ReferenceFace) -> None:
    pictures = torch.cat([torch.zeros_like(true), true])
    made = keep_likeness(heads, Portrait(pictures, BACKGROUND.repeat(2, 1, 1, 1)), [reference, None])
    assert made.kept.tolist() == [False, False]
    assert torch.equal(made.rgb, pictures)
    assert face_in_picture(heads, torch.zeros(3, SIDE, SIDE)) is None


def test_references_are_photos_or_small_pictures(
    heads: Heads, photo: Photo, true: Tensor, reference: ReferenceFace
) -> None:
    assert face_in_photo(heads, photo, np.array([0.0, 380.0, 100.0])) is None
    small = face_in_picture(heads, true[0])
    assert small is not None
    assert small.rgb_SS3.shape == reference.rgb_SS3.shape == (512, 512, 3)
    apart = (small.mover.head.pivot_mm_3 - reference.mover.head.pivot_mm_3).norm()
    assert float(apart) < 0.06 * float(reference.mover.head.pivot_mm_3.norm())


def test_a_head_that_acts_as_itself_is_itself(heads: Heads, reference: ReferenceFace) -> None:
    head = reference.mover.head
    assert torch.allclose(heads.acting(head, head), heads.vertices(head), atol=1e-3)


def test_a_reference_is_moved_to_where_the_head_is(heads: Heads, true: Tensor, reference: ReferenceFace) -> None:
    shifted = torch.roll(true, (6, -5), (2, 3))
    both = torch.cat([true, shifted, shifted])
    move = reference_mover(heads, [reference, reference, None])
    moved = move(both, BACKGROUND.repeat(3, 1, 1, 1))
    assert moved.found.tolist() == [True, True, False]
    assert off(moved.rgb[:1], true) < 0.1
    assert off(moved.rgb[1:2].roll((-6, 5), (2, 3)), true) < 0.5 * off(true.roll((-6, 5), (2, 3)), true)
    assert (moved.rgb[2] == 0).all()
    face, shown = moved.seen[0]
    assert (shown <= face + 1e-6).all()
    assert face[CORNER].max() == 0
    assert face[FACE].mean() > 0.9
    with pytest.raises(ValueError, match="3 references for 1 portraits"):
        move(None, BACKGROUND)


def test_depth_alone_says_where_it_goes(heads: Heads, true: Tensor, reference: ReferenceFace) -> None:
    moved = reference_mover(heads, [reference])(None, head_in_picture(heads, true[0]).relief)
    assert moved.found.tolist() == [True]
    assert off(moved.rgb, true) < 0.7 * off(moved.rgb.roll((6, -5), (2, 3)), true)
