"""Meshes and point clouds as files: GLB, PLY and OBJ, by trimesh (the extra ``jdap[mesh]``).

GLB is in metres, as its standard has it, PLY and OBJ in millimetres; all with y up and z towards the viewer, who is at
the origin. GLB and OBJ carry the picture as a texture, PLY the colours of its vertices; all carry normals.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jdap.io.files import write_whole
from jdap.shape.mesh import Mesh

ENDS = (".glb", ".ply", ".obj")
#: glTF is in metres.
MM_PER_UNIT = {".glb": 1000.0, ".ply": 1.0, ".obj": 1.0}
#: trimesh's page shows linear light as it is, which is too dark.
_AS_SRGB = "<script>renderer.outputEncoding = THREE.sRGBEncoding; render();</script>"


class MeshFileError(ValueError):
    """A mesh that cannot be written; the message names the file and says what to do."""


def require_trimesh() -> Any:
    """The package trimesh. Raises :class:`MeshFileError` with the remedy where it is not installed."""
    try:
        import trimesh
    except ImportError as error:
        raise MeshFileError('meshes are written by trimesh: pip install "jdap[mesh]"') from error
    return trimesh


def write_mesh(
    path: Path, mesh: Mesh, texture_HW3: np.ndarray, *, points: bool = False, field_deg: float | None = None
) -> list[Path]:
    """Write a mesh, or its ``points`` alone, by the ending of the path's name; returns the files, the first is it.

    ``texture_HW3`` uint8 sRGB is the picture that the mesh's ``uv`` are of. ``field_deg``: what the camera sees across,
    which GLB then has a camera for. Each file is there whole or not at all. Raises :class:`MeshFileError` for another
    ending, OBJ of points, and without trimesh.
    """
    trimesh = require_trimesh()
    end = path.suffix.lower()
    if end not in ENDS:
        raise MeshFileError(f"{path}: meshes are written as {', '.join(ENDS)}; name it so")
    if points and end == ".obj":
        raise MeshFileError(f"{path}: OBJ holds no points; name it .ply or .glb")
    vertices = mesh.vertices_mm_V3 / MM_PER_UNIT[end]
    if points:
        cloud = trimesh.PointCloud(vertices, colors=_rgba(mesh.rgb_V3))
        write_whole(path, _bytes(trimesh.Scene(cloud) if end == ".glb" else cloud, end))
        return [path]
    made = trimesh.Trimesh(vertices, mesh.faces_T3, vertex_normals=mesh.normals_V3, process=False)
    if end == ".ply":
        made.visual = trimesh.visual.ColorVisuals(made, vertex_colors=_rgba(mesh.rgb_V3))
        write_whole(path, made.export(file_type="ply", vertex_normal=True))
        return [path]
    image = Image.fromarray(texture_HW3)
    if end == ".glb":
        material: Any = trimesh.visual.material.PBRMaterial(
            baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
        )
    else:
        material = trimesh.visual.material.SimpleMaterial(image=image)
    made.visual = trimesh.visual.TextureVisuals(uv=mesh.uv_V2, material=material)
    if end == ".glb":
        write_whole(path, _bytes(_scene(trimesh, made, field_deg), end))
        return [path]
    return _write_obj(path, made, image)


def write_viewer(path: Path, mesh: Mesh, texture_HW3: np.ndarray, field_deg: float) -> Path:
    """Write a page that shows a mesh in a browser, to be turned by the mouse; returns its path.

    The page holds all it needs (three.js comes with trimesh, the mesh lies in it), and asks no network. It begins with
    what the camera sees, ``field_deg`` across. The picture is shown as it is, with the light that is in it. Raises
    :class:`MeshFileError` without trimesh.
    """
    trimesh = require_trimesh()
    from trimesh.viewer.notebook import scene_to_html

    vertices = mesh.vertices_mm_V3 / MM_PER_UNIT[".glb"]
    # The page turns what it shows around the middle, and goes wrong where the camera stands at the origin.
    middle = (vertices.min(0) + vertices.max(0)) / 2
    made = trimesh.Trimesh(vertices - middle, mesh.faces_T3, vertex_normals=mesh.normals_V3, process=False)
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[0, 0, 0, 255],
        emissiveTexture=Image.fromarray(texture_HW3),
        emissiveFactor=[1.0, 1.0, 1.0],
        metallicFactor=1.0,  # black metal reflects nothing of the page's lamp
        roughnessFactor=1.0,
        doubleSided=True,
    )
    made.visual = trimesh.visual.TextureVisuals(uv=mesh.uv_V2, material=material)
    scene = _scene(trimesh, made, field_deg)
    scene.camera_transform = trimesh.transformations.translation_matrix(-middle)
    write_whole(path, scene_to_html(scene).replace("</body>", f"{_AS_SRGB}</body>").encode())
    return path


def _scene(trimesh: Any, mesh: Any, field_deg: float | None) -> Any:
    scene = trimesh.Scene(mesh)
    if field_deg is not None:
        scene.camera = trimesh.scene.Camera(resolution=(512, 512), fov=(field_deg, field_deg))
        scene.camera_transform = np.eye(4)
    return scene


def _write_obj(path: Path, mesh: Any, image: Image.Image) -> list[Path]:
    """OBJ with its material file and its picture, named after it; the OBJ comes last, when what it names is there."""
    material, picture = path.with_suffix(".mtl"), path.with_name(f"{path.stem}.mesh.png")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    text = mesh.export(file_type="obj", include_normals=True, include_texture=True, return_texture=False)
    lines = [line for line in text.splitlines() if not line.startswith(("mtllib", "usemtl", "#"))]
    text = "\n".join([f"mtllib {material.name}", "usemtl face", *lines]) + "\n"
    write_whole(picture, buffer.getvalue())
    write_whole(material, f"newmtl face\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nmap_Kd {picture.name}\n".encode())
    write_whole(path, text.encode())
    return [path, material, picture]


def _bytes(what: Any, end: str) -> bytes:
    made = what.export(file_type=end[1:])
    return bytes(made)


def _rgba(rgb_V3: np.ndarray) -> np.ndarray:
    return np.concatenate([rgb_V3, np.full((len(rgb_V3), 1), 255, np.uint8)], 1)


def field_of(f_px: float, width: int) -> float:
    """The angle in degrees that a camera of this focal length sees across a picture of so many pixels."""
    return math.degrees(2 * math.atan(width / 2 / f_px))
