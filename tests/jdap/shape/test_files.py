"""Meshes written and read back by trimesh: geometry to 0.1 mm, texture and colours."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from shapes import CAMERA, sphere

from jdap.shape.files import MM_PER_UNIT, MeshFileError, write_mesh
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
