"""The lens by EXIF: what Pillow writes is read again, and what cannot be believed is not."""

from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from jdap.photos.read import read_photo

TAG = ExifTags.Base
WIDE, HIGH = 400, 300
#: A phone's 26 mm: what is 500 pixels from corner to corner is 43.27 mm on film.
PHONE_PX = 26 / 43.27 * 500


def focal(
    folder: Path, tags: dict[int, Any], size: tuple[int, int] = (WIDE, HIGH), orientation: int = 1
) -> float | None:
    exif = Image.Exif()
    exif[TAG.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif).update(tags)
    Image.new("RGB", size).save(folder / "photo.jpg", exif=exif)
    return read_photo(folder / "photo.jpg").focal_px


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_phones_lens_is_known(tmp_path: Path, orientation: int) -> None:
    assert focal(tmp_path, {TAG.FocalLengthIn35mmFilm: 26}, orientation=orientation) == pytest.approx(PHONE_PX)
    # Made smaller after it was taken, as EXIF tells.
    taken = {TAG.ExifImageWidth: 4032, TAG.ExifImageHeight: 3024}
    found = focal(tmp_path, {TAG.FocalLengthIn35mmFilm: 26, **taken}, orientation=orientation)
    assert found == pytest.approx(PHONE_PX)


@pytest.mark.parametrize(("unit", "millimetre"), [(2, 25.4), (3, 10), (4, 1)])
def test_a_sensors_pixels_tell_it_too(tmp_path: Path, unit: int, millimetre: float) -> None:
    """An 85 mm lens before a sensor of 36 x 27 mm that takes 6000 x 4500 pixels."""
    tags = {
        TAG.FocalLength: TiffImagePlugin.IFDRational(85),
        TAG.FocalPlaneXResolution: TiffImagePlugin.IFDRational(round(6000 / 36 * millimetre * 1000), 1000),
        TAG.FocalPlaneResolutionUnit: unit,
        TAG.ExifImageWidth: 6000,
        TAG.ExifImageHeight: 4500,
    }
    assert focal(tmp_path, tags) == pytest.approx(85 / 36 * WIDE, rel=1e-3)
    assert focal(tmp_path, {**tags, TAG.DigitalZoomRatio: TiffImagePlugin.IFDRational(2)}) is None


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {TAG.FocalLength: TiffImagePlugin.IFDRational(4)},
        {TAG.FocalLengthIn35mmFilm: 0},
        {TAG.FocalLengthIn35mmFilm: 5},
        {TAG.FocalLengthIn35mmFilm: 900},
        {TAG.FocalLengthIn35mmFilm: "26 mm"},
        {
            TAG.FocalLength: TiffImagePlugin.IFDRational(1, 0),
            TAG.FocalPlaneXResolution: 100,
            TAG.FocalPlaneResolutionUnit: 2,
        },
        {TAG.FocalLengthIn35mmFilm: 26, TAG.ExifImageWidth: 4000, TAG.ExifImageHeight: 2250},
    ],
)
def test_what_cannot_be_believed_is_not(tmp_path: Path, tags: dict[int, Any]) -> None:
    assert focal(tmp_path, tags) is None


@pytest.mark.parametrize("size", [(300, 300), (300, 280), (400, 100)])
def test_what_no_camera_takes_was_cut(tmp_path: Path, size: tuple[int, int]) -> None:
    assert focal(tmp_path, {TAG.FocalLengthIn35mmFilm: 26}, size) is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_costs_no_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[TAG.FocalLengthIn35mmFilm] = 26
    data = bytearray(exif.tobytes())
    for cut in range(8, len(data), 3):
        Image.new("RGB", (WIDE, HIGH)).save(tmp_path / "photo.jpg", exif=bytes(data[:cut]))
        assert read_photo(tmp_path / "photo.jpg").focal_px in (None, pytest.approx(PHONE_PX))
