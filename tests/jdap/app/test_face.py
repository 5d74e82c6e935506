"""Sliders that change a visitor's face."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.app import face
from jdap.app.depth import HEAD_PX
from jdap.app.face import Fitted
from jdap.app.limits import RefusedError
from jdap.app.models import Models
from jdap.app.photo import Seen
from jdap.pose.change import Change


@pytest.fixture(scope="module")
def fitted(models: Models, seen: Seen) -> Fitted:
    return face.fit(models, seen)


def test_sliders_begin_where_the_photo_is_and_then_it_stays_the_photo(fitted: Fitted) -> None:
    assert set(fitted.start) == {*face.EXPRESSIONS, *face.TURN_WORDS}
    assert all(0 <= fitted.start[name] <= 1 for name in face.EXPRESSIONS)
    change = face.change_of(fitted, fitted.start)
    assert not change.said()
    assert np.array_equal(face.posed(fitted, change)[0], fitted.seen.photo.rgb_HW3)


def test_a_slider_moves_its_part_of_the_face_and_no_pixel_outside_of_the_window(fitted: Fitted, tmp_path: Path) -> None:
    change = face.change_of(fitted, {**fitted.start, "jawOpen": 0.8})
    assert set(change.expression) == {"jawOpen"}
    path = face.write_posed(fitted, change, tmp_path)
    before, after = fitted.seen.photo.rgb_HW3, np.asarray(Image.open(path))
    left, top, size = fitted.seen.window_px
    rows, columns = np.nonzero((np.abs(before.astype(int) - after) > 20).any(2))
    assert len(rows) > 100
    assert rows.mean() > top + size / 2  # the mouth is in the lower half
    assert left <= columns.min() <= columns.max() <= left + size


def test_a_turn_tells_how_much_the_photo_does_not_show(fitted: Fitted) -> None:
    picture, unseen = face.posed(fitted, Change(yaw=30))
    assert 0 < unseen < 1
    assert face.shown(fitted, picture).shape == (HEAD_PX, HEAD_PX, 3)


def test_what_no_slider_can_say_is_refused(fitted: Fitted) -> None:
    with pytest.raises(RefusedError, match="jawOpen"):
        face.change_of(fitted, {**fitted.start, "jawOpen": 7})
    with pytest.raises(RefusedError, match="yaw"):
        face.change_of(fitted, {**fitted.start, "yaw": 170})
