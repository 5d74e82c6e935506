"""Which squares of a photo are drawn."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.faces.landmarker import Landmarker
from jdap.photos import window
from jdap.photos.read import Photo, PhotoError, read_photo

PATH = Path("photo.jpg")


def blank(width: int, height: int) -> Photo:
    return Photo(np.zeros((height, width, 3), np.uint8))


def test_a_box_is_taken_as_it_is() -> None:
    chosen = window.by_box(-10, 5.5, 100)(blank(120, 90), PATH)
    assert [w.tolist() for w in chosen.windows_px] == [[-10, 5.5, 100]]
    assert chosen.faces is None


@pytest.mark.parametrize("box", [(200, 0, 50), (0, -80, 50), (10, 10, 8)])
def test_a_box_beside_the_photo_or_too_small_is_refused(box: tuple[float, float, float]) -> None:
    with pytest.raises(PhotoError, match=r"photo\.jpg: --box .* 120 x 90"):
        window.by_box(*box)(blank(120, 90), PATH)


def test_a_whole_photo_must_be_square() -> None:
    assert window.whole(blank(64, 64), PATH).windows_px[0].tolist() == [0, 0, 64]
    with pytest.raises(PhotoError, match=r"photo\.jpg: 64 x 60 is no square"):
        window.whole(blank(64, 60), PATH)


@pytest.fixture(scope="module")
def landmarker(assets: Path) -> Iterator[Landmarker]:
    with Landmarker() as found:
        yield found


@pytest.fixture(scope="module")
def astronaut(assets: Path) -> Photo:
    return read_photo(assets / "portraits" / "astronaut.png")


def test_a_photo_of_a_few_pixels_is_said_to_be_small(landmarker: Landmarker) -> None:
    with pytest.raises(PhotoError, match=r"photo\.jpg: 8 x 40 pixels are too few"):
        window.by_faces(landmarker)(blank(8, 40), PATH)


def test_a_face_is_cropped_as_preparation_crops(landmarker: Landmarker, astronaut: Photo) -> None:
    chosen = window.by_faces(landmarker)(astronaut, PATH)
    assert chosen.faces == 1
    assert chosen.notes == ()
    (left, top, size) = chosen.windows_px[0]
    # Her eyes are at (200, 111) and (248, 111), her chin at (228, 165), the hair's upper end at about 25 (read off).
    assert left < 175
    assert left + size > 280
    assert 5 < top < 40
    assert 180 < top + size < 240
    # Where the photo is cut, the window moves with it.
    cut = Photo(astronaut.rgb_HW3[5:, 60:])
    moved = window.by_faces(landmarker)(cut, PATH).windows_px[0]
    assert moved == pytest.approx([left - 60, top - 5, size], abs=4)


def test_several_faces(landmarker: Landmarker, assets: Path) -> None:
    people = [Image.open(assets / "portraits" / name).convert("RGB") for name in ("000055.jpg", "000031.jpg")]
    heights = (420, 360)
    left, right = (p.resize((round(p.width * h / p.height), h)) for p, h in zip(people, heights, strict=True))
    together = Image.new("RGB", (left.width + right.width, max(heights)))
    together.paste(left, (0, 0))
    together.paste(right, (left.width, 0))
    both = np.asarray(together)
    photo = Photo(both)
    one = window.by_faces(landmarker)(photo, PATH)
    assert (len(one.windows_px), one.faces) == (1, 2)
    assert one.notes == ("2 faces, the largest taken",)
    two = window.by_faces(landmarker, window.EVERY_FACE)(photo, PATH)
    assert len(two.windows_px) == 2
    assert two.windows_px[0].tolist() == one.windows_px[0].tolist()
    sizes = [w[2] for w in two.windows_px]
    assert sizes[0] >= sizes[1]
    assert sorted(w[0] + w[2] / 2 > left.width for w in two.windows_px) == [False, True]
    with pytest.raises(PhotoError, match=r"photo\.jpg: 2 faces.*--several"):
        window.by_faces(landmarker, window.REFUSE)(photo, PATH)
    for number in (1, 2):
        (chosen,) = window.by_faces(landmarker, number)(photo, PATH).windows_px
        assert chosen.tolist() == two.windows_px[number - 1].tolist()
    with pytest.raises(PhotoError, match=r"photo\.jpg: --several 3 .*2 found"):
        window.by_faces(landmarker, 3)(photo, PATH)


def test_a_small_face_in_a_large_photo_is_found(landmarker: Landmarker, astronaut: Photo) -> None:
    large = np.full((1500, 2000, 3), 90, np.uint8)
    large[600 : 600 + 512, 1200 : 1200 + 512] = astronaut.rgb_HW3
    (found,) = window.by_faces(landmarker)(Photo(large), PATH).windows_px
    (alone,) = window.by_faces(landmarker)(astronaut, PATH).windows_px
    assert found == pytest.approx(alone + np.array([1200, 600, 0]), abs=8)


def test_no_face(landmarker: Landmarker) -> None:
    with pytest.raises(PhotoError, match=r"photo\.jpg: no face .*--box"):
        window.by_faces(landmarker)(blank(300, 200), PATH)
