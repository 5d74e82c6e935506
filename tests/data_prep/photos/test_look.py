"""What is seen in a photo before anything is fitted: here, the lens that its EXIF tells."""

from pathlib import Path

import pytest
from PIL import ExifTags, Image

from data_prep.photos.look import look
from jdap.faces.landmarker import Landmarker


def test_the_lens_of_exif_is_the_cameras_and_a_score_says_so(assets: Path, tmp_path: Path) -> None:
    if not (assets / "lfw").is_dir():
        pytest.skip("needs lfw")
    face = Image.open(assets / "lfw" / "Adrien_Brody" / "Adrien_Brody_0001.jpg").resize((300, 300))
    photo = Image.new("RGB", (400, 300), (90, 90, 90))
    photo.paste(face, (50, 0))
    photo.save(tmp_path / "bare.jpg")
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 85
    photo.save(tmp_path / "told.jpg", exif=exif)
    with Landmarker() as landmarker:
        bare, told = (look(tmp_path / f"{name}.jpg", 0, landmarker, "widest") for name in ("bare", "told"))
    assert told.camera.f_px == pytest.approx(85 / 43.27 * 500)
    assert (bare.scores["lens_exif"], told.scores["lens_exif"]) == (0.0, 1.0)
    assert bare.camera.f_px != pytest.approx(told.camera.f_px, rel=0.05)
