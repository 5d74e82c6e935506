"""Meshes written and read back by trimesh: geometry to 0.1 mm, texture and colours."""

import base64
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from shapes import CAMERA, sphere

from jdap.shape.files import MM_PER_UNIT, MeshFileError, field_of, write_mesh, write_viewer
from jdap.shape.mesh import Mesh, mesh_of

RGB = np.indices((64, 64)).transpose(1, 2, 0).astype(np.uint8) * 3
TEXTURE = np.concatenate([RGB, np.full((64, 64, 1), 90, np.uint8)], 2)


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return mesh_of(sphere()[0], CAMERA, TEXTURE)


@pytest.mark.parametrize("end", [".glb", ".ply", ".obj"])
def test_a_mesh_comes_back(tmp_path: Path, mesh: Mesh, end: str) -> None:
    files = write_mesh(tmp_path / f"face{end}", mesh, TEXTURE, field_deg=28)
    assert files[0] == tmp_path / f"face{end}"
    assert all(file.is_file() for file in files)
    scene = trimesh.load_scene(files[0], process=False)
    (loaded,) = scene.dump()
    mm = np.asarray(loaded.vertices) * MM_PER_UNIT[end]
    # Loaders may double or reorder vertices: triangle by triangle they must lie where they were.
    assert len(loaded.faces) == len(mesh.faces_T3)
    np.testing.assert_allclose(mm[loaded.faces], mesh.vertices_mm_V3[mesh.faces_T3], atol=0.1)
    assert (loaded.face_normals[:, 2] > 0).all()
    if end == ".ply":
        np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], mesh.rgb_V3)
    else:
        material = loaded.visual.material
        picture = getattr(material, "baseColorTexture", None) or material.image
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), TEXTURE)
        corner = loaded.faces[0, 0]
        np.testing.assert_allclose(loaded.visual.uv[corner], mesh.uv_V2[mesh.faces_T3[0, 0]], atol=1e-4)


@pytest.mark.parametrize("end", [".glb", ".ply"])
def test_points_come_back(tmp_path: Path, mesh: Mesh, end: str) -> None:
    (file,) = write_mesh(tmp_path / f"face{end}", mesh, TEXTURE, points=True)
    loaded = trimesh.load(file)
    cloud = next(iter(loaded.geometry.values())) if isinstance(loaded, trimesh.Scene) else loaded
    np.testing.assert_allclose(np.asarray(cloud.vertices) * MM_PER_UNIT[end], mesh.vertices_mm_V3, atol=0.1)
    np.testing.assert_array_equal(np.asarray(cloud.colors)[:, :3], mesh.rgb_V3)


def test_the_texture_lies_on_its_pixels(mesh: Mesh) -> None:
    """What a vertex's place in the texture shows is the colour of its pixel."""
    at = np.floor(np.stack([1 - mesh.uv_V2[:, 1], mesh.uv_V2[:, 0]], 1) * 64).astype(int)
    np.testing.assert_array_equal(TEXTURE[at[:, 0], at[:, 1]], mesh.rgb_V3)
    assert Image.fromarray(TEXTURE).size == (64, 64)


def test_glb_has_the_camera(tmp_path: Path, mesh: Mesh) -> None:
    (file,) = write_mesh(tmp_path / "face.glb", mesh, TEXTURE, field_deg=28)
    assert b'"cameras"' in file.read_bytes()


@pytest.mark.parametrize(("name", "points", "says"), [("face.stl", False, "face.stl"), ("face.obj", True, "no points")])
def test_other_endings_are_refused(tmp_path: Path, mesh: Mesh, name: str, points: bool, says: str) -> None:
    with pytest.raises(MeshFileError, match=says):
        write_mesh(tmp_path / name, mesh, TEXTURE, points=points)
    assert not list(tmp_path.iterdir())


def page(folder: Path, mesh: Mesh) -> Path:
    return write_viewer(folder / "face.html", mesh, TEXTURE, field_of(float(CAMERA[0, 0]), 64))


def test_a_viewer_holds_the_mesh_and_asks_no_network(tmp_path: Path, mesh: Mesh) -> None:
    text = page(tmp_path, mesh).read_text(encoding="utf-8")
    assert re.search(r"<(script|link|img|iframe)[^>]*\b(src|href)=", text) is None
    encoded = max(re.findall(r'"([A-Za-z0-9+/=]{1000,})"', text), key=len)
    (loaded,) = trimesh.load_scene(io.BytesIO(base64.b64decode(encoded)), file_type="glb", process=False).dump()
    size_mm = np.ptp(np.asarray(loaded.vertices), axis=0) * 1000
    np.testing.assert_allclose(size_mm, np.ptp(mesh.vertices_mm_V3, axis=0), atol=0.1)
    assert len(loaded.faces) == len(mesh.faces_T3)


@pytest.mark.slow
def test_a_browser_shows_the_picture_on_the_mesh(tmp_path: Path, mesh: Mesh) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a browser: chromium or google-chrome")
    shot = tmp_path / "shot.png"
    how = ["--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    how += [f"--user-data-dir={tmp_path / 'browser'}", "--window-size=512,512", "--virtual-time-budget=8000"]
    command = [browser, *how, f"--screenshot={shot}", page(tmp_path, mesh).as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    seen = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    # The camera stands where the photo's stood, so the picture lies where it was; beside the ball the page is white.
    wide = seen.shape[0] / 64
    for row, column in ((32, 32), (20, 40), (44, 24)):
        middle = seen[round((row + 0.5) * wide), seen.shape[1] // 2 + round((column + 0.5 - 32) * wide)]
        np.testing.assert_allclose(middle, TEXTURE[row, column], atol=6)
    assert (seen[2, 2] == 255).all()
