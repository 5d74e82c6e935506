"""Depth of a visitor's photo, and its mesh, by the weights that ship."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jdap.__main__ import main
from jdap.app import depth
from jdap.app.depth import Known, know
from jdap.app.models import Models
from jdap.app.photo import Seen, see
from jdap.app.solid import write_solid
from jdap.depth import from_uint16
from jdap.io.assets import SHIPPED_FOLDER
from jdap.photos.inputs import read_depth

PEOPLE = sorted((SHIPPED_FOLDER / "app").glob("*.jpg"))


def test_the_same_seed_gives_the_same_depth(models: Models, seen: Seen, known: Known) -> None:
    again, other = know(models, seen), know(models, seen, seed=1)
    assert np.array_equal(known.depth_SS, again.depth_SS)
    assert not np.array_equal(known.depth_SS, other.depth_SS)


def test_the_face_is_nearer_than_what_is_behind_it(known: Known) -> None:
    side = len(known.depth_SS)
    middle, corner = np.s_[side // 2 - 8 : side // 2 + 8, side // 2 - 8 : side // 2 + 8], np.s_[:8, :8]
    assert known.depth_SS[middle].mean() < -0.2
    assert known.depth_SS[corner].mean() > 0.9
    _, colour = (np.asarray(picture).astype(int) for picture in depth.pair(known))
    assert colour[250:262, 250:262].sum(2).mean() > 3 * colour[:20, :20].sum(2).mean() + 30


def test_files_are_those_of_the_command(models: Models, known: Known, tmp_path: Path) -> None:
    here, there = tmp_path / "app", tmp_path / "command"
    here.mkdir()
    *pictures, metadata = depth.write_depth(models, known, here)
    source = SHIPPED_FOLDER / "app" / "person-1.jpg"
    words = ["depth", str(source), "--out", str(there), "--ensemble", str(depth.ENSEMBLE), "--device", "cpu"]
    assert main(words) == 0
    for path in pictures:
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(there / path.name)))
    assert np.isfinite(from_uint16(np.asarray(Image.open(pictures[0])))).any()
    mine, other = (json.loads((folder / metadata.name).read_text()) for folder in (here, there))
    assert mine.pop("source") == "person-1"  # a visitor's file has no path
    assert other.pop("source") == str(source)
    assert mine == other


def test_another_command_reads_the_depth_of_a_photo_that_is_no_square(models: Models, tmp_path: Path) -> None:
    person = Image.open(PEOPLE[0]).convert("RGB")
    photo = Image.new("RGB", (2 * person.width, person.height), (90, 90, 90))
    photo.paste(person, (person.width, 0))
    photo.save(tmp_path / "wide.png")
    known = know(models, see(models, tmp_path / "wide.png"))
    depth_file = depth.write_depth(models, known, tmp_path)[0]
    np.testing.assert_allclose(read_depth(depth_file, len(known.depth_SS)), known.depth_SS, atol=0.06)


@pytest.mark.parametrize("end", [".glb", ".ply"])
def test_the_mesh_is_a_head_in_front_of_the_camera(known: Known, end: str, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.load(write_solid(known, tmp_path, end), force="mesh")
    unit_mm = 1000 if end == ".glb" else 1
    low, high = mesh.bounds * unit_mm
    assert len(mesh.faces) > 10_000
    assert 100 < high[0] - low[0] < 330
    assert high[2] < 0  # the viewer is at the origin and looks along -z
