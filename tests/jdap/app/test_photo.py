"""Faces of a visitor's photo."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.app import photo
from jdap.app.limits import RefusedError
from jdap.app.models import Models
from jdap.app.photo import Seen
from jdap.io.assets import SHIPPED_FOLDER

PEOPLE = sorted((SHIPPED_FOLDER / "app").glob("*.jpg"))


def test_every_example_that_ships_has_one_face_in_its_middle(models: Models) -> None:
    assert len(PEOPLE) == 3
    for path in PEOPLE:
        seen = photo.see(models, path)
        left, _, size = seen.window_px
        assert len(seen.windows_px) == 1
        assert abs(left + size / 2 - seen.photo.width / 2) < 0.2 * seen.photo.width
        assert photo.told(seen) == "One face found."


def test_of_several_faces_one_is_chosen(models: Models, tmp_path: Path) -> None:
    both = np.concatenate([np.asarray(Image.open(path)) for path in PEOPLE[:2]], axis=1)
    Image.fromarray(both).save(tmp_path / "two.png")
    seen = photo.see(models, tmp_path / "two.png")
    middles = [window[0] + window[2] / 2 for window in seen.windows_px]
    assert sorted(middle > both.shape[1] / 2 for middle in middles) == [False, True]
    other = seen.choose(1)
    assert np.array_equal(other.window_px, seen.windows_px[1])
    assert photo.told(other).startswith("2 faces found, face 2")
    assert seen.choose(7).face == 1  # a number that the page did not offer
    shown = [np.asarray(photo.framed(one)) for one in (seen, other)]
    assert shown[0].shape == shown[1].shape
    assert not np.array_equal(*shown)


def test_a_face_on_its_side_is_turned_and_that_is_told(models: Models, seen: Seen, tmp_path: Path) -> None:
    Image.open(PEOPLE[0]).rotate(90, expand=True).save(tmp_path / "side.png")
    turned = photo.see(models, tmp_path / "side.png")
    assert "turned by 90 degrees clockwise" in photo.told(turned)
    assert np.abs(turned.window_px - seen.window_px).max() < 0.05 * seen.window_px[2]


def test_without_a_face_the_visitor_is_told_what_to_try(models: Models, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (90, 120, 60)).save(tmp_path / "grass.png")
    with pytest.raises(RefusedError, match=r"No face.*larger") as caught:
        photo.see(models, tmp_path / "grass.png")
    assert "--box" not in str(caught.value)
