"""The lens of selfies is found by perspective; far faces keep the guess."""

import math

import pytest
import torch

from data_prep.fit.fit import CHEEKS, FACE_WIDTH_MM, PHOTO_FACE_MM, Observed, default_camera
from data_prep.fit.lens import find_lens, photo_camera
from data_prep.head.landmarks import load_correspondence
from data_prep.head.model import MorphableModel, head_to_camera
from jdap.geometry import project

SIZE, FRAMES = 512, 8


@pytest.mark.parametrize(("field_deg", "far_mm", "found"), [(75.0, 320.0, True), (40.0, 800.0, False)])
def test_the_lens_of_a_near_face_is_found(model: MorphableModel, field_deg: float, far_mm: float, found: bool) -> None:
    """A drawn head that turns, landmarks with noise of 0.3 % of the face's width: the focal length within 5 %."""
    generator, correspondence = torch.Generator().manual_seed(2), load_correspondence()
    f_px = SIZE / 2 / math.tan(math.radians(field_deg / 2))
    turn = torch.linspace(-0.4, 0.4, FRAMES)
    rotation = torch.stack([0.2 * torch.sin(4 * turn), turn, 0 * turn], -1)
    vertices = model.vertices(0.5 * torch.randn(1, 50, generator=generator), torch.zeros(1, 53))
    points = correspondence.points(head_to_camera(vertices, rotation, torch.tensor([[0.0, 0.0, far_mm]])))
    pixels = project(points, torch.tensor([[f_px, SIZE / 2, SIZE / 2]]).expand(FRAMES, -1))
    width_px = float((pixels[:, CHEEKS[0]] - pixels[:, CHEEKS[1]]).norm(dim=-1).max())
    pixels = pixels + 0.003 * width_px * torch.randn(pixels.shape, generator=generator)
    guess = default_camera(SIZE, SIZE, width_px)
    seen = Observed(torch.cat([pixels, points[..., 2:] * f_px / far_mm], -1), torch.zeros(FRAMES, 53), guess)
    lens = find_lens([seen], model, correspondence, guess)
    if found:
        assert guess.f_px > 1.5 * f_px
        assert lens.f_px == pytest.approx(f_px, rel=0.05)
        assert (lens.cx_px, lens.width) == (guess.cx_px, guess.width)
    else:
        assert lens == guess


def test_a_photos_lens_is_exifs_where_the_face_is_then_in_reach() -> None:
    guess, known = photo_camera(4000, 3000, 800)
    assert (guess, known) == (default_camera(4000, 3000, 800, PHOTO_FACE_MM), False)
    # A selfie at 400 mm, and a portrait at 2.5 m; the face that they would show at 100 mm, and at 8 m.
    for far_mm, counts in ((400, True), (2500, True), (100, False), (8000, False)):
        f_px = far_mm * 800 / FACE_WIDTH_MM
        camera, known = photo_camera(4000, 3000, 800, f_px)
        assert known is counts
        assert camera.f_px == (f_px if counts else guess.f_px)
        assert (camera.cx_px, camera.cy_px) == (2000, 1500)
