"""The ICT-FaceKit files: reading the packed arrays, and packing the original OBJ folder into the same arrays, bit for bit.

ICT-FaceKit (https://github.com/ICT-VGL/ICT-FaceKit, MIT) comes as a folder of OBJ files in centimetres, one head a file:
``generic_neutral_mesh.obj``, ``identity000.obj`` … (the mean head plus one mode at one standard deviation) and one per
expression. Its packed form holds what differs:

==================  =====================  ==========================================================================
``neutral``         (V, 3) float32         vertices of the mean head, centimetres
``identity``        (K, V, 3) float16      offsets of the modes at one standard deviation, centimetres
``expression``      (E, V, 3) float16      offsets of the expressions at full strength, centimetres
``expression_names``  (E,) str             ARKit's names with ``_L`` and ``_R``
``faces``           (T, 3) int32           triangles; polygons are cut as fans from their first corner
``uv``, ``faces_uv``  (U, 2) float32, (T, 3) int32  texture coordinates with their own indexing; each material has a tile
``face_material``   (T,) uint8             index into ``material_names`` (M,) str, in the order of the OBJ file
==================  =====================  ==========================================================================

An offset is ``float16(float32(v) - float32(neutral))``, with no other scaling.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

PACKED_NAME = "ict_face_model_full.npz"
OBJ_FOLDER = "FaceXModel"
NEUTRAL_OBJ = "generic_neutral_mesh.obj"
INDEX_JSON = "vertex_indices.json"
#: Members of the packed file and their dtypes (str = any unicode width).
PACKED_DTYPES: dict[str, type] = {
    "neutral": np.float32,
    "identity": np.float16,
    "expression": np.float16,
    "expression_names": np.str_,
    "uv": np.float32,
    "faces": np.int32,
    "faces_uv": np.int32,
    "face_material": np.uint8,
    "material_names": np.str_,
}

#: Parts of the head by their last vertex, in the order of the file (README of ICT-FaceKit, "Model topology").
PART_LAST_VERTEX: tuple[tuple[str, int], ...] = (
    ("face", 9408),
    ("head_neck", 11247),
    ("mouth_socket", 13293),
    ("eye_socket", 14061),
    ("gums_tongue", 17038),
    ("teeth", 21450),
    ("sclera", 22220),
    ("iris", 23020),
    ("sclera", 23790),
    ("iris", 24590),
    ("lacrimal_fluid", 24998),
    ("eye_blend", 25046),
    ("eye_occlusion", 25350),
    ("eyelashes", 26718),
)
VERTICES = PART_LAST_VERTEX[-1][1] + 1


class ModelFileError(ValueError):
    """A face model file that is missing, damaged or of another kind."""


def read_model(path: Path) -> dict[str, np.ndarray]:
    """The packed arrays from a packed file, an OBJ folder, or a folder that holds either of them."""
    if path.is_dir():
        if (path / PACKED_NAME).is_file():
            return read_packed(path / PACKED_NAME)
        for folder in (path, path / OBJ_FOLDER):
            if (folder / NEUTRAL_OBJ).is_file():
                return pack_obj_folder(folder)
        raise ModelFileError(f"{path} holds neither {PACKED_NAME} nor {OBJ_FOLDER}/{NEUTRAL_OBJ} of ICT-FaceKit")
    return read_packed(path)


def read_packed(path: Path) -> dict[str, np.ndarray]:
    """The packed arrays of ``path`` (.npz); raises :class:`ModelFileError` when it is not the ICT-FaceKit file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = sorted(set(PACKED_DTYPES) - set(file.files))
            if missing:
                raise ModelFileError(f"{path} is no packed ICT-FaceKit file: it lacks {', '.join(missing)}")
            return {name: file[name] for name in PACKED_DTYPES}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path} cannot be read as a packed ICT-FaceKit file: {error}") from error


def pack_obj_folder(folder: Path, identities: int | None = None) -> dict[str, np.ndarray]:
    """The packed arrays from an original ``FaceXModel`` folder.

    ``vertex_indices.json`` names the expressions; all ``identityNNN.obj`` are read, which must be numbered from 000 without
    a gap. Raises :class:`ModelFileError` naming the file that is missing or does not fit.
    """
    neutral_path = folder / NEUTRAL_OBJ
    packed = _read_mesh(neutral_path)
    try:
        names = json.loads((folder / INDEX_JSON).read_text(encoding="utf-8"))["expressions"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{folder / INDEX_JSON} cannot be read: {error!r}") from error
    found = len(list(folder.glob("identity[0-9][0-9][0-9].obj")))
    count = found if identities is None else identities

    def offsets(stems: list[str]) -> np.ndarray:
        out = np.empty((len(stems), *packed["neutral"].shape), np.float16)
        for i, stem in enumerate(stems):
            path = folder / f"{stem}.obj"
            vertices = _read_vertices(path)
            if vertices.shape != packed["neutral"].shape:
                raise ModelFileError(f"{path} has {len(vertices)} vertices, {NEUTRAL_OBJ} {len(packed['neutral'])}")
            out[i] = vertices - packed["neutral"]
        return out

    packed["identity"] = offsets([f"identity{i:03d}" for i in range(count)])
    packed["expression"] = offsets(names)
    packed["expression_names"] = np.array(names)
    return packed


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from error


def _numbers(path: Path, lines: list[bytes], columns: int) -> np.ndarray:
    if not lines:
        raise ModelFileError(f"{path} holds no vertices")
    try:
        # Decimals are rounded to double first, then to float32: the order that the packed arrays were made in.
        rows = [line.decode("ascii") for line in lines]
        return np.loadtxt(rows, usecols=range(1, 1 + columns), ndmin=2).astype(np.float32)
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path} is no OBJ file: {error}") from error


def _read_vertices(path: Path) -> np.ndarray:
    return _numbers(path, [line for line in _lines(path) if line.startswith(b"v ")], 3)


def _read_mesh(path: Path) -> dict[str, np.ndarray]:
    lines = _lines(path)
    materials: list[str] = []
    faces, faces_uv, face_material = [], [], []
    for number, line in enumerate(lines, 1):
        if line.startswith(b"usemtl "):
            materials.append(line.split()[1].decode("ascii"))
        elif line.startswith(b"f "):
            try:
                corners = [tuple(int(x) - 1 for x in corner.split(b"/")[:2]) for corner in line.split()[1:]]
                for second, third in zip(corners[1:-1], corners[2:], strict=True):
                    fan = (corners[0], second, third)
                    faces.append([v for v, _ in fan])
                    faces_uv.append([t for _, t in fan])
                    face_material.append(len(materials) - 1)
            except ValueError as error:
                raise ModelFileError(f"{path}:{number} is no face with texture coordinates: {error}") from error
    if not faces or min(face_material) < 0:
        raise ModelFileError(f"{path} holds no faces, or faces before the first material")
    return {
        "neutral": _numbers(path, [line for line in lines if line.startswith(b"v ")], 3),
        "uv": _numbers(path, [line for line in lines if line.startswith(b"vt ")], 2),
        "faces": np.array(faces, np.int32),
        "faces_uv": np.array(faces_uv, np.int32),
        "face_material": np.array(face_material, np.uint8),
        "material_names": np.array(materials),
    }


def content_sha256(packed: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and little-endian bytes of the packed arrays, in the order of PACKED_DTYPES.

    It is the same for every file that holds the same numbers, however it was compressed. Strings count as UTF-8 lines.
    """
    digest = hashlib.sha256()
    for name, dtype in PACKED_DTYPES.items():
        array = packed[name]
        if dtype is np.str_:
            body, kind = "\n".join(array.tolist()).encode(), "str"
        else:
            little = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
            body, kind = little.tobytes(), little.dtype.str
        digest.update(f"{name} {kind} {array.shape}\n".encode())
        digest.update(body)
    return digest.hexdigest()
