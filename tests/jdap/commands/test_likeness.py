"""``jdap generate`` and the face of the reference."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import jdap, rows
from PIL import Image

from jdap.faces.landmarker import Landmarker

WEIGHTS = ("--weights", "shipped:image-tiny", "--device", "cpu", "--steps", "10")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(float)


def test_a_portrait_has_the_face_of_its_reference(assets: Path, tmp_path: Path) -> None:
    photo, faces = assets / "portraits" / "astronaut.png", ("model", "shown", "reference")
    for face in faces:
        asked = () if face == "reference" else ("--face", face)
        assert jdap("generate", "--reference", photo, "--out", tmp_path / face, *WEIGHTS, *asked) == 0
    alone, own, kept = (pixels(tmp_path / face / "astronaut.seed0.png") for face in faces)
    written = [json.loads((tmp_path / face / "astronaut.seed.json").read_text()) for face in faces]
    assert [found["face_of_reference"] for found in written] == [None, None, {"0": True}]
    assert [found["shown_where_it_belongs"] for found in written] == [False, True, True]
    assert (np.abs(own - alone).max(2) > 2).mean() > 0.5  # hair and background are drawn by the reference, too
    changed = np.abs(own - kept).max(2) > 0
    assert 0.05 < changed.mean() < 0.5
    with Landmarker() as landmarker:
        (found,) = landmarker.find(np.asarray(Image.fromarray(kept.astype(np.uint8)).resize((512, 512))))
    inside = changed[tuple((found.landmarks_px_N3[:468, 1::-1] / 4).astype(int).clip(0, 127).T)]
    assert inside.mean() > 0.8  # it is the face that was put on
    depths = {(tmp_path / face / "astronaut.seed0.depth.png").read_bytes() for face in faces}
    assert len(depths) == 1


def test_what_cannot_be_shown_is_refused(
    assets: Path, small_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = assets / "portraits" / "astronaut.png"
    for asked in (("--weights", small_weights), (*WEIGHTS, "--depth-first", "0"), (*WEIGHTS[:-1], "1")):
        assert jdap("generate", "--reference", photo, "--out", tmp_path, *asked, "--face", "shown") == 2
        assert "--face shown: it takes weights with a likeness_net" in " ".join(capsys.readouterr().err.split())


def test_steps_that_are_too_few_to_draw_depth_first_are_drawn_as_before(assets: Path, tmp_path: Path) -> None:
    photo = assets / "portraits" / "astronaut.png"
    assert jdap("generate", "--reference", photo, "--out", tmp_path, *WEIGHTS[:-1], "1") == 0
    assert json.loads((tmp_path / "astronaut.seed.json").read_text())["shown_where_it_belongs"] is False


def test_a_reference_without_a_face_is_told(assets: Path, tmp_path: Path) -> None:
    photo = assets / "portraits" / "astronaut.png"
    asked = "--box", "0,380,100", "--face", "reference"
    assert jdap("generate", "--reference", photo, "--out", tmp_path, *WEIGHTS, *asked) == 0
    assert "no face is found in the reference" in rows(tmp_path)[0]["message"]
    assert json.loads((tmp_path / "astronaut.seed.json").read_text())["face_of_reference"] == {"0": False}


def test_a_portrait_without_a_face_is_told(assets: Path, small_weights: Path, tmp_path: Path) -> None:
    photo = assets / "portraits" / "astronaut.png"
    asked = "--weights", small_weights, "--device", "cpu", "--steps", "2", "--count", "2"
    assert jdap("generate", "--reference", photo, "--out", tmp_path, *asked) == 0
    assert "no face is found in the portrait of seed 0, 1" in rows(tmp_path)[0]["message"]


def test_heads_that_cannot_be_had_are_told_with_the_way_out(
    assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JDAP_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("JDAP_ASSETS", str(tmp_path / "nothing"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    photo = assets / "portraits" / "astronaut.png"
    box = "--box", "125,14,200", "--face", "reference"
    assert jdap("generate", "--reference", photo, "--out", tmp_path / "out", *WEIGHTS, *box) == 2
    assert "--face model" in " ".join(capsys.readouterr().err.split())
