"""Parts of heads by name, on a portrait of the assets and by the weights that ship."""

from pathlib import Path

import numpy as np
import pytest

from jdap.choices import BACKGROUND, EYES, HAIR, HAT, MOUTH, SKIN
from jdap.faces.crop import head_window
from jdap.faces.landmarker import FACE_LANDMARKS, Landmarker
from jdap.faces.parser import load_parser
from jdap.photos.parts import grown, mask_parts
from jdap.photos.read import Photo, PhotoError, read_photo


@pytest.fixture(scope="module")
def found(assets: Path):
    """Part → mask of a portrait; its landmarks, its window."""
    photo, path = read_photo(assets / "portraits" / "astronaut.png"), Path("astronaut.png")
    parser = load_parser("shipped")
    assert parser is not None
    with Landmarker() as landmarker:
        points = landmarker.find(photo.rgb_HW3)[0].landmarks_px_N3[:FACE_LANDMARKS, :2]
        window = head_window(points, photo.width, photo.height)
        masks = {n: mask_parts(photo, path, window, [n], parser, landmarker) for n in (EYES, MOUTH, HAIR, SKIN)}
        masks["both"] = mask_parts(photo, path, window, [EYES, MOUTH], parser, landmarker)
        masks[BACKGROUND] = mask_parts(photo, path, window, [BACKGROUND], parser, None)
    return masks, points, window


def at(mask: np.ndarray, point: np.ndarray) -> bool:
    return bool(mask[int(point[1]), int(point[0])])


def test_parts_lie_where_landmarks_say(found) -> None:
    masks, points, _ = found
    pupils = [points[list(lids)].mean(0) for lids in ((159, 145), (386, 374))]
    lips, nose, forehead = points[[13, 14]].mean(0), points[4], points[9]
    assert all(at(masks[EYES], p) for p in pupils)
    assert at(masks[MOUTH], lips)
    for mask in (masks[EYES], masks[MOUTH]):
        assert not at(mask, nose)
        assert not at(mask, forehead)
    assert at(masks[SKIN], nose)
    assert at(masks[SKIN], forehead)
    assert not (masks[SKIN] & (masks[EYES] | masks[MOUTH])).any()
    np.testing.assert_array_equal(masks["both"], masks[EYES] | masks[MOUTH])
    assert not (masks[HAIR] & masks[SKIN]).any()
    assert at(masks[HAIR], points[10] - [0, 0.25 * np.ptp(points[:, 1])])  # over the forehead


def test_nothing_outside_of_the_window(found) -> None:
    masks, _, window = found
    left, top, size = window
    for name in (HAIR, SKIN, BACKGROUND):
        v, u = np.nonzero(masks[name])
        assert left <= u.min() <= u.max() < left + size
        assert top <= v.min() <= v.max() < top + size


def test_grown_by_pixels() -> None:
    mask = np.zeros((20, 20), bool)
    mask[10, 10] = True
    assert grown(mask, 0).sum() == 1
    assert grown(mask, 1).sum() == 5
    assert np.array_equal(grown(mask, 3), np.hypot(*np.indices((20, 20)) - 10) <= 3)


def test_what_is_not_there_is_told(assets: Path) -> None:
    grey = Photo(np.full((64, 64, 3), 128, np.uint8))
    parser, window = load_parser("shipped"), np.array([0.0, 0.0, 64.0])
    assert parser is not None
    with pytest.raises(PhotoError, match=r"x\.png: no hat is found.*--mask"):
        mask_parts(grey, Path("x.png"), window, [HAT], parser, None)
    with Landmarker() as landmarker, pytest.raises(PhotoError, match=r"x\.png: no face"):
        mask_parts(grey, Path("x.png"), window, [EYES], parser, landmarker)
