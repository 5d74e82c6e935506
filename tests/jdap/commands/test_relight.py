"""``jdap relight`` on a ball of known depth, with untrained networks: what it writes, and what goes wrong."""

import json
import os
import stat
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from command_line import jdap, pixels, rows
from PIL import Image
from shapes import CAMERA, sphere

from jdap.depth import to_uint16
from jdap.light.colour import from_light
from jdap.light.ratio import Shape, shading
from jdap.light.sources import from_direction

SIZE = 160


def ball(path: Path, azimuth: float = 50, size: int = SIZE, **options: object) -> Path:
    """A ball of skin's colour, lit from a side, on grey."""
    depth_mm, normals = sphere(size)
    shape = Shape(normals, depth_mm, CAMERA * size / 64)
    light = shading(from_direction(azimuth, 10, 0.7, 0.3), shape) * torch.tensor([0.55, 0.4, 0.3])[:, None, None]
    picture = torch.where(shape.known, from_light(light), torch.full_like(light, 0.5))
    array = (picture[0].permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(array).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.fixture
def asked(small_weights: Path, tmp_path: Path) -> list[object]:
    """Options that give the ball's true depth."""
    depth_mm = sphere(SIZE)[0][0, 0].numpy()
    near, far = depth_mm[depth_mm > 0].min(), depth_mm.max()
    depth = np.where(depth_mm > 0, 1.9 * (depth_mm - near) / (far - near) - 1, 1.0)
    Image.fromarray(to_uint16(depth)).save(tmp_path / "depth.png")
    return ["--weights", small_weights, "--no-crop", "--device", "cpu", "--depth", tmp_path / "depth.png"]


def sides(picture: np.ndarray) -> tuple[float, float]:
    """Mean of the left and right half of the ball's middle."""
    rows, left, right = slice(55, 105), slice(45, 65), slice(95, 115)
    return float(picture[rows, left].mean()), float(picture[rows, right].mean())


def test_a_ball_that_is_lit_from_the_right_is_lit_from_the_left(tmp_path: Path, asked: list[object]) -> None:
    photo, out = ball(tmp_path / "a.png"), tmp_path / "out"
    assert jdap("relight", photo, "--out", out, *asked, "--light=-50,10", "--light", "50,10") == 0
    left, right = sides(pixels(photo))
    assert right > left + 20
    made = pixels(out / "a.relit.png")
    left, right = sides(made)
    assert left > right + 20
    # The same light again changes little; what is not the person nothing.
    same = pixels(out / "a.relit2.png").astype(int) - pixels(photo)
    assert np.abs(same[50:110, 50:110]).mean() < 12
    np.testing.assert_array_equal(made[:8, :8], pixels(photo)[:8, :8])
    files = ["a.relit.png", "a.relit2.png", "a.relit.preview.png", "a.relit.json"]
    assert rows(out) == [{"source": str(photo), "status": "done", "message": "", "files": files}]
    data = json.loads((out / "a.relit.json").read_text())
    assert abs(data["light_found"]["azimuth_deg"] - 50) < 20
    assert data["lights"] == ["-50,10,1", "50,10,1"]


def test_the_light_of_another_photo_a_panorama_and_exposure(tmp_path: Path, asked: list[object]) -> None:
    photo, out = ball(tmp_path / "a.png"), tmp_path / "out"
    panorama = np.zeros((32, 64, 3), np.uint8)
    panorama[8:24, 10:22] = 255  # to the left
    Image.fromarray(panorama).save(tmp_path / "room.png")
    other = ball(tmp_path / "b.png", azimuth=-50)
    how = [*asked, "--environment", tmp_path / "room.png", "--like", other]
    assert jdap("relight", photo, "--out", out, *how) == 0
    left, right = sides(pixels(out / "a.relit.png"))
    assert left > right + 10
    assert jdap("relight", photo, "--out", tmp_path / "dark", *asked, "--light", "50,10", "--exposure", -1) == 0
    dark = pixels(tmp_path / "dark" / "a.relit.png")[60:100, 60:100].mean()
    assert 0.55 < dark / pixels(photo)[60:100, 60:100].mean() < 0.85  # half of the light


def test_a_turntable_is_a_video(tmp_path: Path, asked: list[object]) -> None:
    out = tmp_path / "out"
    assert jdap("relight", ball(tmp_path / "a.png"), "--out", out, *asked, "--turntable", "--frames", 6) == 0
    with av.open(str(out / "a.relit.turn.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6
    assert np.abs(frames[1].astype(int) - frames[5]).mean() > 3  # from the right, from the left


@pytest.mark.slow
def test_the_model_redraws_on_request(tmp_path: Path, asked: list[object]) -> None:
    photo = ball(tmp_path / "a.png")
    redraw = ["--redraw", 0.5, "--steps", 4]
    for name, more in (("plain", []), ("drawn", redraw), ("again", redraw)):
        assert jdap("relight", photo, "--out", tmp_path / name, *asked, "--light=-50,10", *more) == 0
    plain, drawn, again = (pixels(tmp_path / name / "a.relit.png") for name in ("plain", "drawn", "again"))
    assert not np.array_equal(plain, drawn)
    np.testing.assert_array_equal(drawn, again)


@pytest.mark.slow
def test_any_kind_of_photo(tmp_path: Path, small_weights: Path) -> None:
    upright = Image.open(ball(tmp_path / "upright.png"))
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(photos / "turned.png", exif=exif)
    upright.save(photos / "upright.png")
    upright.convert("CMYK").save(photos / "cmyk.tif")
    upright.convert("L").save(photos / "grey.png")
    upright.convert("RGBA").save(photos / "alpha.png")
    upright.resize((20, 20)).save(photos / "tiny.png")
    upright.resize((1500, 1500)).save(photos / "huge.png")
    (photos / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    out = tmp_path / "out"
    how = ["--weights", small_weights, "--no-crop", "--device", "cpu", "--light", "30,20"]
    assert jdap("relight", photos, "--out", out, *how) == 1
    found = {Path(str(row["source"])).stem: row for row in rows(out)}
    assert [name for name, row in found.items() if row["status"] == "failed"] == ["phone"]
    assert "HEIC" in str(found["phone"]["message"])
    np.testing.assert_array_equal(pixels(out / "turned.relit.png"), pixels(out / "upright.relit.png"))
    np.testing.assert_array_equal(pixels(out / "alpha.relit.png"), pixels(out / "upright.relit.png"))
    assert pixels(out / "huge.relit.png").shape == (1500, 1500, 3)
    assert pixels(out / "tiny.relit.png").shape == (20, 20, 3)


def test_a_photo_without_a_face_is_a_row(tmp_path: Path, assets: Path, small_weights: Path) -> None:
    Image.fromarray(np.full((200, 200, 3), 120, np.uint8)).save(tmp_path / "wall.png")
    how = ["--weights", small_weights, "--light", "0,0", "--device", "cpu"]
    assert jdap("relight", tmp_path / "wall.png", "--out", tmp_path / "out", *how) == 1
    assert "no face is found" in str(rows(tmp_path / "out")[0]["message"])


@pytest.mark.slow
def test_several_faces_are_chosen_among(tmp_path: Path, assets: Path, small_weights: Path) -> None:
    one = Image.open(assets / "portraits" / "astronaut.png").convert("RGB").crop((130, 0, 330, 220))
    both = Image.new("RGB", (460, 220), "grey")
    both.paste(one, (0, 0))
    both.paste(one, (240, 0))
    both.save(tmp_path / "two.png")
    how = ["--weights", small_weights, "--light", "40,20", "--device", "cpu"]
    for several, status, files in (("largest", 0, 1), ("all", 0, 2), ("refuse", 1, 0)):
        out = tmp_path / several
        assert jdap("relight", tmp_path / "two.png", "--out", out, *how, "--several", several) == status
        assert len(list(out.glob("*.relit.png"))) == files


def test_rows_as_json_and_nothing_else(tmp_path: Path, asked: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert jdap("relight", ball(tmp_path / "a.png"), "--out", tmp_path / "out", *asked, "--light", "0,0", "--json") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["status"] for line in printed] == ["done"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "say which light"),
        (["--light", "0,0,0", "--ambient", "0"], "a light of zero"),
        (["--light", "0,0,-1"], "0 or more"),
        (["--light", "0,0", "--exposure", "9"], "--exposure"),
        (["--turntable", "--redraw", "0.5"], "--turntable"),
        (["--environment", "a.png"], "no panorama"),
        (["--like", "nowhere.png"], "no such file"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    options: list[str],
    says: str,
    tmp_path: Path,
    asked: list[object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert jdap("relight", ball(tmp_path / "a.png"), "--out", tmp_path / "out", *asked, *options) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("light", ["a,b", "1", "1,2,3,4", "nan,0"])
def test_lights_that_are_no_numbers(light: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        jdap("relight", tmp_path / "a.png", "--out", tmp_path / "out", f"--light={light}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_must_not_be_written(
    tmp_path: Path, asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert jdap("relight", ball(tmp_path / "a.png"), "--out", locked / "out", *asked, "--light", "0,0") == 2
    assert "locked" in capsys.readouterr().err


def test_a_file_in_the_way_of_the_folder(
    tmp_path: Path, asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    assert jdap("relight", ball(tmp_path / "a.png"), "--out", tmp_path / "out", *asked, "--light", "0,0") == 2
    assert "name a folder" in capsys.readouterr().err
