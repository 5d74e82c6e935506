"""A lamp that a visitor drags."""

import math
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.app import light
from jdap.app.depth import Known
from jdap.app.light import InLight, Lamp
from jdap.app.limits import RefusedError
from jdap.app.models import Models


@pytest.fixture(scope="module")
def face(models: Models, known: Known) -> InLight:
    return light.find_light(models, known)


def cheeks(picture: np.ndarray) -> tuple[float, float]:
    """Mean brightness of the left and right half of the face's middle."""
    rows = slice(170, 260)
    return float(picture[rows, 130:180].mean()), float(picture[rows, 205:255].mean())


def test_the_side_of_the_lamp_is_the_brighter_one(models: Models, face: InLight) -> None:
    left = cheeks(light.shown(models, face, Lamp(-70, 10, 0.1)))
    right = cheeks(light.shown(models, face, Lamp(70, 10, 0.1)))
    assert left[0] / left[1] > 1.3 * right[0] / right[1]


def test_stops_make_it_brighter_and_soft_light_evens_it(models: Models, face: InLight) -> None:
    dark, bright = (light.shown(models, face, Lamp(stops=stops)).mean() for stops in (-1, 1))
    assert bright > dark + 20
    hard, soft = (cheeks(light.shown(models, face, Lamp(-70, 10, even))) for even in (0.0, 1.0))
    assert hard[0] / hard[1] > soft[0] / soft[1]


def test_a_drag_is_answered_at_once(models: Models, face: InLight) -> None:
    light.shown(models, face, Lamp())
    begun = time.process_time()
    light.shown(models, face, Lamp(30, 30))
    assert time.process_time() - begun < 1.0


def test_the_whole_photo_changes_in_the_heads_window_alone(models: Models, face: InLight, tmp_path: Path) -> None:
    before = face.known.seen.photo.rgb_HW3
    after = np.asarray(Image.open(light.write_relit(models, face, Lamp(), tmp_path)))
    left, top, size = face.known.seen.window_px
    rows, columns = np.nonzero((before != after).any(2))
    assert len(rows) > 1000
    assert left <= columns.min() <= columns.max() <= left + size
    assert top <= rows.min() <= rows.max() <= top + size


def test_numbers_of_a_browser_are_brought_into_their_ranges() -> None:
    assert light.checked(500, "-500", 7, -9) == Lamp(180, -90, 1, -light.MOST_STOPS)
    for bad in (math.nan, "x", None, [1]):
        with pytest.raises(RefusedError):
            light.checked(bad, 0, 0.3, 0)
