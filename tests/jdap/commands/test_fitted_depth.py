"""Commands that better the depth of a head fitted to the face."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import jdap, rows
from PIL import Image

from jdap.depth import from_uint16
from jdap.io.assets import resolve
from jdap.pipelines.portrait import PortraitPipeline

WEIGHTS = ("--weights", "shipped:image-tiny", "--device", "cpu")


def relief(path: Path) -> np.ndarray:
    return from_uint16(np.asarray(Image.open(path)))


def test_a_face_gets_a_head(assets: Path, tmp_path: Path) -> None:
    photo = assets / "portraits" / "astronaut.png"
    assert jdap("depth", photo, "--out", tmp_path, *WEIGHTS) == 0
    assert json.loads((tmp_path / "astronaut.depth.json").read_text())["head_fitted"] is True
    depth = relief(tmp_path / "astronaut.depth.png")
    assert np.nanmin(depth) < -0.8
    v, u = np.unravel_index(int(np.nanargmin(depth)), depth.shape)
    assert (v, u) == (pytest.approx(130, abs=20), pytest.approx(228, abs=15))  # the tip of the nose


def test_where_there_is_no_face_the_row_says_so(assets: Path, tmp_path: Path) -> None:
    photo = assets / "portraits" / "astronaut.png"
    assert jdap("depth", photo, "--out", tmp_path, *WEIGHTS, "--box", "0,380,100", "--head", "fit") == 0
    assert json.loads((tmp_path / "astronaut.depth.json").read_text())["head_fitted"] is False
    assert "no face to fit a head to" in rows(tmp_path)[0]["message"]


def test_a_mesh_is_made_of_it(assets: Path, tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    photo = assets / "portraits" / "astronaut.png"
    assert jdap("export", photo, "--out", tmp_path / "a.glb", *WEIGHTS) == 0
    assert (tmp_path / "a.glb").stat().st_size > 10_000


def test_it_can_be_left_out(assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = assets / "portraits" / "astronaut.png"
    box = "--box", "125,14,200"
    made = {}
    for name, how in {"fit": (*box, "--head", "fit"), "none": ("--head", "none"), "box": box}.items():
        assert jdap("depth", photo, "--out", tmp_path / name, *WEIGHTS, *how) == 0
        made[name] = json.loads((tmp_path / name / "astronaut.depth.json").read_text())
    assert made["fit"]["head_fitted"] is True
    assert "head_fitted" not in made["none"] | made["box"]  # a box is for those who look for no faces
    assert not np.array_equal(*(relief(tmp_path / name / "astronaut.depth.png") for name in ("fit", "box")))


def test_weights_without_such_layers_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = PortraitPipeline.from_pretrained(resolve("shipped:image-tiny"))
    pipeline.register_modules(face_layers=None)
    pipeline.save_pretrained(tmp_path / "weights")
    photo = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(photo)
    asked = "depth", photo, "--no-crop", "--out", tmp_path / "out", "--weights", tmp_path / "weights", "--device", "cpu"
    assert jdap(*asked) == 0
    assert jdap(*asked, "--head", "fit") != 0
    assert "have no layers that better a fitted head" in " ".join(capsys.readouterr().err.split())


def test_relighting_takes_it(assets: Path, tmp_path: Path) -> None:
    photo = assets / "portraits" / "astronaut.png"
    lit = {}
    for head in ("fit", "none"):
        asked = "relight", photo, "--light", "60,20", "--out", tmp_path / head, *WEIGHTS, "--head", head
        assert jdap(*asked) == 0
        lit[head] = np.asarray(Image.open(tmp_path / head / "astronaut.relit.png")).astype(float)
    assert np.abs(lit["fit"] - lit["none"]).max() > 8
