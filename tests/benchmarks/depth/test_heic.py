"""HEIC with depth inside, as a photo with measured depth."""

import sys
from pathlib import Path

import numpy as np
import pytest
from heic_files import write_heic
from PIL import Image

from benchmarks.depth.heic import HeicError
from benchmarks.depth.photo_folder import Entry, read_depth_mm, read_picture
from benchmarks.depth.photos import PhotoReader
from jdap.faces.landmarker import Landmarker
from jdap.photos.read import PhotoError, read_photo

WIDE, HIGH = 96, 64
#: A slope from 0.4 m at the left to 2 m at the right, by the inverse of z.
NEARNESS = np.linspace(1 / 0.4, 1 / 2, WIDE // 2)
STEPS = np.rint((NEARNESS - 0.5) / 2 * 255).astype(np.uint8)[None].repeat(HIGH // 2, 0)
#: Smooth: a quarter of the pixels have colour of their own.
RGB = np.stack(np.broadcast_arrays(np.arange(WIDE), 2 * np.arange(HIGH)[:, None], 90), -1).astype(np.uint8)


def entry(path: Path) -> Entry:
    return Entry(path.name, path, path, "ann")


@pytest.mark.parametrize(
    ("kind", "ends"),
    [(0, {"z_near": 0.4, "z_far": 2.0}), (1, {"d_min": 0.5, "d_max": 2.5}), (1, {"d_min": 5, "d_max": 25})],
)
def test_nearness_becomes_depth_of_the_photos_size(tmp_path: Path, kind: int, ends: dict[str, float]) -> None:
    pytest.importorskip("pillow_heif", reason="the extra jdap[heic]")
    path = tmp_path / "a.heic"
    write_heic(path, RGB, STEPS, kind, ends)
    photo = read_picture(entry(path))
    assert (photo.width, photo.height) == (WIDE, HIGH)
    assert np.abs(photo.rgb_HW3.astype(int) - RGB).max() <= 4
    depth_mm = read_depth_mm(entry(path), WIDE, HIGH)
    assert depth_mm.shape == (HIGH, WIDE)
    scale = depth_mm[0, 0] / 400
    true_mm = 1000 / NEARNESS.repeat(2) * scale
    assert np.abs(depth_mm / true_mm - 1).max() < 0.5 * 2 / 255 * 2 + 1e-3


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra jdap[heic]")
    path = tmp_path / "a.heic"

    def says(reason: str) -> None:
        with pytest.raises(PhotoError, match=rf"a\.heic: {reason}"):
            read_depth_mm(entry(path), WIDE, HIGH)

    says("no such file")
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    says("damaged")
    pillow_heif.from_pillow(Image.fromarray(RGB)).save(path)
    says("holds no depth image")
    write_heic(path, RGB, STEPS, 1, {})
    says("its depth does not say")
    write_heic(path, RGB, STEPS, 2, {"z_near": 0.4, "z_far": 2.0})
    says("its depth does not say")
    write_heic(path, RGB, STEPS[:, :32], 1, {"d_min": 0.5, "d_max": 2.5})
    says("its depth is 32 x 32")


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(HeicError, match=r"a\.heic: .*pip install 'jdap\[heic\]'"):
        read_picture(entry(tmp_path / "a.heic"))


def test_a_face_in_heic_is_measured_as_in_other_files(assets: Path, tmp_path: Path) -> None:
    """A scanned face, 0.6 m away, once as photo and PNG, once as HEIC of 8 bits."""
    pytest.importorskip("pillow_heif", reason="the extra jdap[heic]")
    if not (assets / "york").is_dir():
        pytest.skip("needs york")
    source = sorted((assets / "york").glob("*.depth.png"))[0]
    plain = Entry("a", Path(str(source).replace(".depth.png", ".jpg")), source, "ann")
    photo = read_photo(plain.photo)
    relief_mm = read_depth_mm(plain, photo.width, photo.height)
    seen = relief_mm > 0
    depth_m = 0.6 + np.where(seen, relief_mm - relief_mm[seen].min(), np.ptp(relief_mm[seen])) / 1000
    far, near = 1 / depth_m.max(), 1 / depth_m.min()
    steps = np.rint((1 / depth_m - far) / (near - far) * 255).astype(np.uint8)
    write_heic(tmp_path / "a.heic", photo.rgb_HW3, steps, 1, {"d_min": far, "d_max": near})
    with Landmarker() as landmarker:
        reader = PhotoReader(64, None, landmarker)
        one, other = reader.read(plain), reader.read(entry(tmp_path / "a.heic"))
    where = (one.depth_mm_SS > 0) & (other.depth_mm_SS > 0)
    apart = one.depth_mm_SS[where] - other.depth_mm_SS[where]
    # A step of nearness is half a millimetre there; their origins are free.
    assert np.median(np.abs(apart - np.median(apart))) < 0.5
