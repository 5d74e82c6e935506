"""Reading textured meshes: a scan's folder with one OBJ, PLY or GLB file, and what its ``scan.json`` says of it.

Of FaceScape's registered models (:data:`FACESCAPE`) every OBJ file is a scan of its own, by the folder's person.

OBJ is read here; PLY and GLB by trimesh, an extra. A mesh needs texture coordinates and one picture for them; colours
of vertices are not read. Units are millimetres, metres in GLB as its standard has it, or what ``scan.json`` says:

* ``mm_per_unit``: float, of the mesh's coordinates
* ``person_id``: str, whose scan it is (default: the folder's name); scans of one person must share it
* ``mask``: str, a grey picture on the same texture coordinates, beside the mesh: skin is where it is over half
* ``cameras``: list of objects with ``f_px``, ``cx_px``, ``cy_px``, ``width``, ``height`` in pixels, and ``rotation``
  (axis-angle, radians) and ``translation_mm`` from the mesh's axes to the camera's (x right, y down, z forward), after
  ``mm_per_unit``

Shapes: V vertices, U texture coordinates, T triangles, H x W texels.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from data_prep.head.ict import ModelFileError, read_mesh
from jdap import srgb
from jdap.geometry import PinholeCamera

MESHES = (".obj", ".ply", ".glb")
#: glTF is in metres by its standard; the rest says nothing, and scanners write millimetres.
MM_PER_UNIT = {".obj": 1.0, ".ply": 1.0, ".glb": 1000.0}
NOTES = "scan.json"
#: FaceScape's topologically uniform models: ``PERSON/models_reg/NUMBER_EXPRESSION.obj`` beside a ``.jpg`` of that name.
FACESCAPE = "models_reg"
#: A head, or a person down to the hips, in millimetres, is this large across its bounding box.
LIKELY_SIZE_MM = (120.0, 2500.0)
UNITS_GUESSED = (("metres", 1000.0), ("centimetres", 10.0), ("micrometres", 1e-3))


class ScanError(ValueError):
    """A scan that cannot be read or used; the message names the folder or file and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A textured mesh.

    * ``vertices_mm_V3`` float32, axes of a head: x to its left, y up, z out of the face
    * ``faces_T3``, ``faces_uv_T3`` int64: rows of the vertices and of ``uv_U2`` float32 (v up, (0, 0) … (1, 1))
    * ``texture_3HW`` float32, linear light, 0 … 1
    """

    name: str
    vertices_mm_V3: Tensor
    faces_T3: Tensor
    uv_U2: Tensor
    faces_uv_T3: Tensor
    texture_3HW: Tensor

    def to(self, device: torch.device | str) -> Scan:
        """The same on another device."""
        tensors = (self.vertices_mm_V3, self.faces_T3, self.uv_U2, self.faces_uv_T3, self.texture_3HW)
        return Scan(self.name, *(tensor.to(device) for tensor in tensors))


@dataclass(frozen=True)
class Shot:
    """A camera of ``scan.json``: the camera, and ``rotation`` and ``translation_mm`` (3 floats each) to its axes."""

    camera: PinholeCamera
    rotation: tuple[float, ...]
    translation_mm: tuple[float, ...]


@dataclass(frozen=True)
class Notes:
    """What ``scan.json`` says; see the module."""

    person_id: str
    mm_per_unit: float | None = None
    mask: Path | None = None
    cameras: tuple[Shot, ...] = ()


def read_notes(folder: Path) -> Notes:
    """``scan.json`` of a scan's folder, or what holds without one; of a mesh of :data:`FACESCAPE`, whose it is. Raises
    :class:`ScanError` that names the file."""
    if folder.is_file():
        return Notes(folder.resolve().parents[1].name)
    path, person = folder / NOTES, folder.resolve().name
    if not path.exists():
        return Notes(person)
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise ValueError("it holds no object")
        unknown = sorted(set(said) - {"person_id", "mm_per_unit", "mask", "cameras"})
        if unknown:
            raise ValueError(f"nothing is known of {', '.join(unknown)}")
        scale = said.get("mm_per_unit")
        if scale is not None and not (math.isfinite(float(scale)) and float(scale) > 0):
            raise ValueError(f"mm_per_unit must be positive, got {scale}")
        mask = folder / str(said["mask"]) if "mask" in said else None
        cameras = tuple(_shot(camera) for camera in said.get("cameras", []))
        return Notes(str(said.get("person_id", person)), None if scale is None else float(scale), mask, cameras)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ScanError(f"{path} cannot be used: {error!r}") from error


def _shot(said: dict[str, Any]) -> Shot:
    f_px, cx_px, cy_px = (float(said[name]) for name in ("f_px", "cx_px", "cy_px"))
    camera = PinholeCamera(f_px, cx_px, cy_px, int(said["width"]), int(said["height"]))
    turn, shift = (tuple(float(x) for x in said[name]) for name in ("rotation", "translation_mm"))
    numbers = (camera.f_px, camera.cx_px, camera.cy_px, *turn, *shift)
    if len(turn) != 3 or len(shift) != 3 or not all(math.isfinite(x) for x in numbers):
        raise ValueError("a camera has finite numbers, three of rotation and three of translation_mm")
    if camera.f_px <= 0 or camera.width < 1 or camera.height < 1:
        raise ValueError("a camera has a positive f_px, width and height")
    return Shot(camera, turn, shift)


def read_scan(folder: Path, mm_per_unit: float | None = None) -> Scan:
    """The mesh of a scan's folder, or a mesh that is a scan of its own, with its texture, in millimetres.

    Raises :class:`ScanError` naming the file.
    """
    meshes = [folder] if folder.is_file() else sorted(p for p in folder.iterdir() if p.suffix.lower() in MESHES)
    if len(meshes) != 1:
        raise ScanError(f"{folder}: a scan's folder holds one mesh ({', '.join(MESHES)}), found {len(meshes)}")
    path = meshes[0]
    arrays, picture = _read_obj(path) if path.suffix.lower() == ".obj" else _read_trimesh(path)
    vertices, faces, uv, faces_uv = arrays
    for named, points in ((faces, vertices), (faces_uv, uv)):
        if not len(named) or named.min() < 0 or named.max() >= len(points):
            raise ScanError(f"{path}: it has no faces, or they name vertices or texture coordinates that it lacks")
    if not (np.isfinite(vertices).all() and np.isfinite(uv).all()):
        raise ScanError(f"{path}: it holds coordinates that are not finite")
    vertices = vertices * (MM_PER_UNIT[path.suffix.lower()] if mm_per_unit is None else mm_per_unit)
    _check_size(path, vertices[np.unique(faces)])
    return Scan(
        folder.resolve().name,
        torch.from_numpy(vertices.astype(np.float32)),
        torch.from_numpy(faces.astype(np.int64)),
        torch.from_numpy(uv.astype(np.float32)),
        torch.from_numpy(faces_uv.astype(np.int64)),
        srgb.to_linear(torch.from_numpy(np.asarray(picture, np.float32) / 255)).permute(2, 0, 1).contiguous(),
    )


def _check_size(path: Path, vertices_mm: np.ndarray) -> None:
    across = float(np.linalg.norm(np.ptp(vertices_mm, axis=0)))
    if LIKELY_SIZE_MM[0] <= across <= LIKELY_SIZE_MM[1]:
        return
    guess = next((f", as if it were in {unit}" for unit, mm in UNITS_GUESSED if 150 <= across * mm <= 1000), "")
    raise ScanError(f"{path}: it is {across:.3g} mm across, not a head's size{guess}; set mm_per_unit")


def _read_obj(path: Path) -> tuple[tuple[np.ndarray, ...], Image.Image]:
    try:
        mesh = read_mesh(path)
    except ModelFileError as error:
        raise ScanError(str(error)) from error
    return tuple(mesh[name] for name in ("neutral", "faces", "uv", "faces_uv")), read_picture(_texture_of(path), path)


def _read_trimesh(path: Path) -> tuple[tuple[np.ndarray, ...], Image.Image]:
    try:
        import trimesh
    except ImportError as error:
        raise ScanError(f"{path} needs trimesh: install it with `pip install jdap[scans]`, or write an OBJ") from error
    try:
        scene = trimesh.load_scene(path, process=False)
        meshes = [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh)]
    except Exception as error:  # trimesh's readers raise whatever a broken file leads to
        raise ScanError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if len(meshes) != 1:
        raise ScanError(f"{path} holds {len(meshes)} meshes; a scan is one")
    visual = meshes[0].visual
    uv, material = getattr(visual, "uv", None), getattr(visual, "material", None)
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if uv is None or picture is None:
        raise ScanError(f"{path}: no texture (texture coordinates and a picture; colours of vertices are not read)")
    faces = np.asarray(meshes[0].faces)
    return (np.asarray(meshes[0].vertices), faces, np.asarray(uv), faces), picture.convert("RGB")


def read_picture(path: Path, mesh: Path, mode: str = "RGB") -> Image.Image:
    """A picture that belongs to a mesh. Raises :class:`ScanError` that names both."""
    try:
        return Image.open(path).convert(mode)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ScanError(f"{path}: the texture of {mesh.name} cannot be read: {error}") from error


def _texture_of(mesh: Path) -> Path:
    """The picture that the OBJ's material file names; of :data:`FACESCAPE` the one of its own name."""
    if mesh.parent.name == FACESCAPE:
        return mesh.with_suffix(".jpg")
    for library in _values(mesh, "mtllib"):
        if (mesh.parent / library).is_file():
            for name in _values(mesh.parent / library, "map_Kd"):
                return mesh.parent / name
    raise ScanError(f"{mesh}: no texture: it names no material file (mtllib) with a picture (map_Kd) that is there")


def _values(path: Path, key: str) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split(None, 1)[1].strip() for line in lines if line.startswith(f"{key} ") and line.split(None, 1)[1:]]
