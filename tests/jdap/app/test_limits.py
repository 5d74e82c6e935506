"""What visitors may upload, and that they are told politely, without a path of this machine."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.app import limits
from jdap.app.limits import RefusedError, read_upload, shrunk
from jdap.photos.read import Photo

SCENE = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)


def refused(path: Path) -> str:
    """What is said of a file that is refused."""
    with pytest.raises(RefusedError) as caught:
        read_upload(path)
    told = str(caught.value)
    assert str(path.parent) not in told
    assert told.endswith(".")
    return told


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"hello", "no picture"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "no picture"),  # another program would run it
        (b"\x00\x00\x00\x18ftypheic" + bytes(20), "HEIC"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "picture|damaged"),
    ],
)
def test_what_is_no_photo_is_refused(data: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "upload.jpg"
    path.write_bytes(data)
    assert any(one in refused(path) for one in word.split("|"))


def test_too_many_bytes_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BYTES", 1000)
    path = tmp_path / "large.png"
    Image.fromarray(SCENE).save(path)
    assert "MB" in refused(path)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    Image.new("L", (9000, 6000)).save(path)
    assert path.stat().st_size < limits.MOST_BYTES
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    assert "9000 x 6000" in refused(path)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1", "I;16"])
def test_pictures_of_every_kind_are_read(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(SCENE)
    image = Image.fromarray(SCENE[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    path = tmp_path / f"photo.{'tif' if mode == 'CMYK' else 'png'}"
    image.save(path)
    assert read_upload(path).rgb_HW3.shape == SCENE.shape


def test_a_photo_from_a_camera_on_its_side_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    Image.fromarray(np.rot90(SCENE, 1)).save(data, "PNG", exif=exif)
    (tmp_path / "photo.png").write_bytes(data.getvalue())
    assert np.array_equal(read_upload(tmp_path / "photo.png").rgb_HW3, SCENE)


def test_large_photos_are_worked_on_smaller_with_their_transparent_pixels() -> None:
    empty = np.zeros((30, 40), bool)
    empty[:, 20:] = True
    photo = shrunk(Photo(SCENE, empty), 20)
    assert (photo.width, photo.height) == (20, 15)
    assert photo.empty_HW is not None
    assert photo.empty_HW[:, 10:].all()
    assert not photo.empty_HW[:, :10].any()
    assert "20 × 15" in photo.notes[-1]
    same = Photo(SCENE)
    assert shrunk(same, 40) is same
    assert shrunk(Photo(SCENE, focal_px=36.0), 20).focal_px == pytest.approx(18)  # in its pixels
