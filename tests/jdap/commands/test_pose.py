"""``jdap pose``: what it writes, and what goes wrong."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from command_line import frames, jdap, pixels, rows
from PIL import Image


@pytest.fixture
def photo(assets: Path, tmp_path: Path) -> Path:
    """A small photo of one face."""
    whole = Image.open(assets / "portraits" / "astronaut.png").convert("RGB")
    whole.crop((90, 0, 370, 280)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_photo_is_changed_and_the_rest_stays(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert jdap("pose", photo, "--out", out, "--set", "jawOpen=.6", "yaw=-10", "--set", "mouthSmile=.3") == 0
    files = ["a.posed.png", "a.posed.preview.png", "a.posed.json"]
    assert [(row["status"], row["files"]) for row in rows(out)] == [("done", files)]
    assert "is made up" in str(rows(out)[0]["message"])
    made, own = pixels(out / "a.posed.png"), pixels(photo)
    assert made.shape == own.shape
    np.testing.assert_array_equal(made[-8:], own[-8:])
    assert (made != own).any(-1).mean() > 0.1
    data = json.loads((out / "a.posed.json").read_text())
    assert data["set"] == ["jawOpen=0.6", "mouthSmile_L=0.3", "mouthSmile_R=0.3", "yaw=-10"]
    assert 0 < data["made_up"] < 0.2
    assert data["found"]["expression"]["mouthSmile_L"] > 0.2


@pytest.mark.slow
def test_the_model_draws_and_leaves_the_rest(photo: Path, tmp_path: Path, small_weights: Path) -> None:
    how = ["--weights", small_weights, "--device", "cpu", "--steps", 2, "--set", "yaw=8"]
    assert jdap("pose", photo, "--out", tmp_path / "drawn", *how, "--by", "model") == 0
    assert jdap("pose", photo, "--out", tmp_path / "redrawn", *how, "--redraw", 0.5) == 0
    own = pixels(photo)
    for name in ("drawn", "redrawn"):
        made = pixels(tmp_path / name / "a.posed.png")
        np.testing.assert_array_equal(made[-4:], own[-4:])
        depth = tmp_path / name / "a.posed.depth.png"
        assert pixels(depth).dtype == np.uint16
        assert json.loads((tmp_path / name / "a.posed.json").read_text())["depth"]["files"] == [depth.name]
        given = ["--depth", depth, "--weights", small_weights, "--device", "cpu", "--steps", 1]
        assert jdap("generate", "--reference", photo, "--out", tmp_path / "given", *given) == 0


@pytest.mark.slow
def test_the_performance_of_a_photo_and_of_a_video(photo: Path, assets: Path, tmp_path: Path) -> None:
    other = assets / "portraits" / "000002.jpg"
    assert jdap("pose", photo, "--out", tmp_path / "one", "--from", other, "--take", "both") == 0
    assert (pixels(tmp_path / "one" / "a.posed.png") != pixels(photo)).any(-1).mean() > 0.1
    clip = assets / "videos" / "motion" / "d18.mp4"
    short = tmp_path / "short.mp4"
    from jdap.media.video import VideoWriter

    with av.open(str(clip)) as container, VideoWriter(short, 25, sound=False) as writer:
        for k, frame in enumerate(container.decode(video=0)):
            if k == 6:
                break
            writer.frame(frame.to_ndarray(format="rgb24"))
    assert jdap("pose", photo, "--out", tmp_path / "clip", "--from", short) == 0
    assert len(frames(tmp_path / "clip" / "a.posed.mp4")) == 6


@pytest.mark.slow
def test_a_sweep_is_a_video(photo: Path, tmp_path: Path) -> None:
    assert jdap("pose", photo, "--out", tmp_path / "out", "--sweep", "yaw=-12:12", "--frames", 4, "--json") == 0
    made = frames(tmp_path / "out" / "a.posed.sweep.mp4")
    assert len(made) == 4
    assert np.abs(made[0].astype(int) - made[2]).mean() > 2


@pytest.mark.slow
def test_kinds_of_photos(photo: Path, tmp_path: Path) -> None:
    upright, photos = Image.open(photo), tmp_path / "photos"
    photos.mkdir()
    upright.convert("L").save(photos / "grey.png")
    upright.convert("RGBA").save(photos / "alpha.png")
    upright.resize((24, 24)).save(photos / "tiny.png")
    upright.resize((1800, 1800)).save(photos / "huge.png")
    Image.new("RGB", (200, 200), "grey").save(photos / "wall.png")
    jdap("pose", photos, "--out", tmp_path / "out", "--set", "jawOpen=.5")
    found = {Path(str(row["source"])).stem: row for row in rows(tmp_path / "out")}
    assert found["wall"]["status"] == "failed"
    assert "no face is found" in str(found["wall"]["message"])
    for name, side in (("grey", 280), ("alpha", 280), ("huge", 1800)):
        assert pixels(tmp_path / "out" / f"{name}.posed.png").shape == (side, side, 3)
    assert found["tiny"]["status"] == "done" or "no face is found" in str(found["tiny"]["message"])


@pytest.mark.slow
def test_the_second_of_two_faces(photo: Path, tmp_path: Path) -> None:
    one = Image.open(photo)
    both = Image.new("RGB", (600, 280), "grey")
    both.paste(one, (0, 0))
    both.paste(one.resize((250, 250)), (320, 0))
    both.save(tmp_path / "two.png")
    how = ["pose", tmp_path / "two.png", "--set", "jawOpen=.6"]
    assert jdap(*how, "--out", tmp_path / "second", "--several", 2) == 0
    changed = (pixels(tmp_path / "second" / "two.posed.png") != np.asarray(both)).any(-1)
    assert changed[:, 320:].any()
    assert not changed[:, :280].any()
    assert jdap(*how, "--out", tmp_path / "third", "--several", 3) == 1
    assert "--several 3 asks" in str(rows(tmp_path / "third")[0]["message"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "say what to change"),
        (["--set", "jawOpn=.5"], "nearest is jawOpen"),
        (["--set", "yaw=90"], "yaw must be within"),
        (["--set", "jawOpen=2"], "jawOpen must be within"),
        (["--sweep", "yaw=-90:90"], "yaw must be within"),
        (["--sweep", "yaw=-9:9", "--by", "model"], "--sweep"),
        (["--set", "yaw=5", "--by", "model", "--redraw", ".5"], "--redraw"),
        (["--from", "nowhere.png"], "no such file"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    options: list[str], says: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert jdap("pose", photo, "--out", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("words", [["--set", "yaw"], ["--set", "yaw=a"], ["--sweep", "yaw=1"], ["--several", "0"]])
def test_words_that_are_no_settings(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        jdap("pose", tmp_path / "a.png", "--out", tmp_path / "out", *words)


def test_without_a_head_model_the_remedy_is_told(
    assets: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few" / "mediapipe"
    few.mkdir(parents=True)
    (few / "face_landmarker.task").symlink_to(assets / "mediapipe" / "face_landmarker.task")
    monkeypatch.setenv("JDAP_ASSETS", str(few.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("jdap.io.fetch.ATTEMPTS", 1)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert jdap("pose", photo, "--out", tmp_path / "out", "--set", "yaw=5") == 2
    error = capsys.readouterr().err
    assert "ict_facekit cannot be had" in error
    assert "JDAP_ASSETS" in error
