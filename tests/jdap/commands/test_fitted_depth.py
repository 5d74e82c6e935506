"""``jdap depth`` and ``jdap export`` from a fitted head; other commands refuse weights that need one."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import jdap, rows
from PIL import Image

from jdap.depth import from_uint16

WEIGHTS = ("--weights", "shipped:depth-tiny", "--device", "cpu")


def relief(path: Path) -> np.ndarray:
    return from_uint16(np.asarray(Image.open(path)))


def test_a_face_gets_a_head(assets: Path, tmp_path: Path) -> None:
    photo = assets / "portraits" / "astronaut.png"
    assert jdap("depth", photo, "--out", tmp_path, *WEIGHTS) == 0
    assert json.loads((tmp_path / "astronaut.depth.json").read_text())["head_fitted"] is True
    depth = relief(tmp_path / "astronaut.depth.png")
    assert np.nanmin(depth) < -0.9
    v, u = np.unravel_index(int(np.nanargmin(depth)), depth.shape)
    assert (v, u) == (pytest.approx(130, abs=20), pytest.approx(228, abs=15))  # the tip of the nose


def test_where_there_is_no_face_the_row_says_so(assets: Path, tmp_path: Path) -> None:
    photo = assets / "portraits" / "astronaut.png"
    assert jdap("depth", photo, "--out", tmp_path, *WEIGHTS, "--box", "0,380,100") == 0
    assert json.loads((tmp_path / "astronaut.depth.json").read_text())["head_fitted"] is False
    assert "no face to fit a head to" in rows(tmp_path)[0]["message"]


def test_a_mesh_is_made_of_it(assets: Path, tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    photo = assets / "portraits" / "astronaut.png"
    assert jdap("export", photo, "--out", tmp_path / "a.glb", *WEIGHTS) == 0
    assert (tmp_path / "a.glb").stat().st_size > 10_000


@pytest.mark.parametrize("command", [["relight", "--light", "30,20"], ["generate"], ["edit", "--part", "eyes"]])
def test_other_commands_refuse_such_weights(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(photo)
    given = ["--reference", photo] if command[0] == "generate" else [photo]
    assert jdap(command[0], *given, *command[1:], "--out", tmp_path / "out", *WEIGHTS) != 0
    told = " ".join(capsys.readouterr().err.split())
    assert "they better a fitted head, which `jdap depth` and `jdap export` fit" in told


def test_the_page_refuses_them_too(assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio")
    assert jdap("app", "--port", "18421", *WEIGHTS) != 0
    assert "they better a fitted head" in " ".join(capsys.readouterr().err.split())
