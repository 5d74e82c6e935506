"""The ICT-FaceKit files: reading the packed arrays, and packing the original OBJ folder into the same bits.

ICT-FaceKit (https://github.com/ICT-VGL/ICT-FaceKit, MIT) is a folder of OBJ files in centimetres, one head a file:
``generic_neutral_mesh.obj``, ``identity000.obj`` … (the mean head plus one mode at one standard deviation) and one per
expression. Its packed form, an ``.npz``, holds only what differs (:data:`PACKED`):

* ``neutral`` (V, 3) float32: vertices of the mean head, centimetres
* ``identity`` (K, V, 3) float16: offsets of the modes at one standard deviation, centimetres
* ``expression`` (E, V, 3) float16: offsets of the expressions at full strength, centimetres
* ``expression_names`` (E,): ARKit's names with ``_L`` and ``_R``
* ``faces`` (T, 3) int32: triangles; polygons are cut as fans from their first corner
* ``uv`` (U, 2) float32, ``faces_uv`` (T, 3) int32: texture coordinates, own indexing, one unit tile a material
* ``face_material`` (T,) uint8: index into ``material_names`` (M,), which are in the order of the OBJ file

An offset is ``float16(float32(vertex) - float32(neutral))``: there is no scaling between the two forms.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
from rich.console import Console

from jdap.io.progress import track

PACKED_NAME = "ict_face_model_full.npz"
OBJ_FOLDER = "FaceXModel"
NEUTRAL_OBJ = "generic_neutral_mesh.obj"
INDEX_JSON = "vertex_indices.json"

#: Members of the packed file: name -> (type, shape), where letters stand for sizes that must agree.
PACKED: dict[str, tuple[type[np.generic], tuple[str | int, ...]]] = {
    "neutral": (np.float32, ("V", 3)),
    "identity": (np.float16, ("K", "V", 3)),
    "expression": (np.float16, ("E", "V", 3)),
    "expression_names": (np.str_, ("E",)),
    "uv": (np.float32, ("U", 2)),
    "faces": (np.int32, ("T", 3)),
    "faces_uv": (np.int32, ("T", 3)),
    "face_material": (np.uint8, ("T",)),
    "material_names": (np.str_, ("M",)),
}

#: Parts of the head by their last vertex, in the order of the file (README of ICT-FaceKit, "Face Model Topology").
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
#: Material of the triangles that join the face to the parts behind it.
BACK_HEAD = "M_BackHead"
#: The face without scalp, ears and neck (same README, "Face Area Details"). It reaches a little under the chin.
NARROW_FACE_LAST_VERTEX = 6705
#: Between the ears' lower and upper ends on the mean head, by height, centimetres.
EARS_CM = (-2.3, 3.8)


class ModelFileError(ValueError):
    """A face model file that is missing, damaged or of another kind."""


def read_model(path: Path) -> dict[str, np.ndarray]:
    """The packed arrays from a packed file, an OBJ folder, or a folder that holds either of them.

    Raises :class:`ModelFileError` naming the file that is missing or wrong.
    """
    if not path.is_dir():
        return read_packed(path)
    if (path / PACKED_NAME).is_file():
        return read_packed(path / PACKED_NAME)
    for folder in (path, path / OBJ_FOLDER):
        if (folder / NEUTRAL_OBJ).is_file():
            return pack_obj_folder(folder)
    raise ModelFileError(f"{path} holds neither {PACKED_NAME} nor {OBJ_FOLDER}/{NEUTRAL_OBJ} of ICT-FaceKit")


def read_packed(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a packed ``.npz``; raises :class:`ModelFileError` when it is damaged or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in PACKED if name in file}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelFileError(f"{path} cannot be read as a packed ICT-FaceKit model: {reason}") from error
    return _checked(path, arrays)


def pack_obj_folder(folder: Path) -> dict[str, np.ndarray]:
    """The packed arrays from an original ``FaceXModel`` folder, with the same bits as the packed file.

    ``vertex_indices.json`` names the expressions; identities are ``identity000.obj`` and on, without a gap. Raises
    :class:`ModelFileError` naming the file that is missing or does not fit. The full set takes about 10 s.
    """
    try:
        names = json.loads((folder / INDEX_JSON).read_text(encoding="utf-8"))["expressions"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{folder / INDEX_JSON} cannot be read: {error!r}") from error
    modes = [f"identity{i:03d}" for i in range(len(list(folder.glob("identity*.obj"))))]
    packed = read_mesh(folder / NEUTRAL_OBJ)
    neutral = packed["neutral"]
    offsets = np.empty((len(modes) + len(names), *neutral.shape), np.float16)
    stems = track(modes + names, "mode of ICT-FaceKit", Console(stderr=True))
    for offset, stem in zip(offsets, stems, strict=True):
        path = folder / f"{stem}.obj"
        vertices = _numbers(path, _lines(path), b"v ", 3)
        if vertices.shape != neutral.shape:
            raise ModelFileError(f"{path} has {len(vertices)} vertices, {NEUTRAL_OBJ} has {len(neutral)}")
        offset[:] = vertices - neutral
    packed["identity"], packed["expression"] = offsets[: len(modes)], offsets[len(modes) :]
    packed["expression_names"] = np.array(names, dtype=np.str_)
    return _checked(folder, packed)


def content_sha256(packed: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and little-endian bytes of the packed arrays, in the order of :data:`PACKED`.

    It is the same for every file that holds the same numbers, however it was compressed. Strings count as UTF-8 lines.
    """
    digest = hashlib.sha256()
    for name, (dtype, _) in PACKED.items():
        array = packed[name]
        if dtype is np.str_:
            kind, body = "str", "\n".join(array.tolist()).encode()
        else:
            little = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
            kind, body = little.dtype.str, little.tobytes()
        digest.update(f"{name} {kind} {array.shape}\n".encode())
        digest.update(body)
    return digest.hexdigest()


def _checked(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays, if their types and shapes are those of :data:`PACKED` and every index is in range."""
    missing = [name for name in PACKED if name not in arrays]
    if missing:
        raise ModelFileError(f"{path} is no packed ICT-FaceKit model: it lacks {', '.join(missing)}")
    sizes: dict[str | int, int] = {3: 3, 2: 2}
    for name, (dtype, shape) in PACKED.items():
        array = arrays[name]
        if array.ndim != len(shape) or not np.issubdtype(array.dtype, dtype):
            raise ModelFileError(f"{path}: {name} must be {dtype.__name__} {shape}, got {array.dtype} {array.shape}")
        for letter, got in zip(shape, array.shape, strict=True):
            if sizes.setdefault(letter, got) != got:
                raise ModelFileError(f"{path}: {name} has shape {array.shape}, where {letter} is {sizes[letter]}")
    for name, most in (("faces", sizes["V"]), ("faces_uv", sizes["U"]), ("face_material", sizes["M"])):
        if arrays[name].size and not (arrays[name].min() >= 0 and arrays[name].max() < most):
            raise ModelFileError(f"{path}: {name} reaches outside of 0 … {most - 1}")
    return arrays


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from error


def _numbers(path: Path, lines: list[bytes], prefix: bytes, columns: int) -> np.ndarray:
    """The first ``columns`` numbers of every line that starts with ``prefix`` → (N, columns) float32."""
    try:
        rows = [line.decode("ascii") for line in lines if line.startswith(prefix)]
        if not rows:
            raise ModelFileError(f"{path} holds no '{prefix.decode().strip()}' lines of an OBJ file")
        # Decimals are rounded to double first, then to float32, as the packed arrays were made.
        return np.loadtxt(rows, usecols=range(1, 1 + columns), ndmin=2).astype(np.float32)
    except (ValueError, UnicodeDecodeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path} is no OBJ file: {error}") from error


def read_mesh(path: Path) -> dict[str, np.ndarray]:
    """One OBJ file as it is: of :data:`PACKED`, ``neutral`` in the file's unit, ``uv``, the two kinds of faces and the
    materials. Polygons become fans of triangles. Raises :class:`ModelFileError` naming the file, or its line.
    """
    lines = _lines(path)
    materials: list[str] = []
    faces: list[list[int]] = []
    faces_uv: list[list[int]] = []
    face_material: list[int] = []
    for number, line in enumerate(lines, 1):
        if line.startswith(b"usemtl "):
            materials.append(line[7:].strip().decode("ascii", "replace"))
        elif line.startswith(b"f "):
            try:
                corners = [[int(x) - 1 for x in corner.split(b"/")[:2]] for corner in line.split()[1:]]
                for pair in itertools.pairwise(corners[1:]):
                    vertices, texture = zip(corners[0], *pair, strict=True)
                    faces.append(list(vertices))
                    faces_uv.append(list(texture))
                    face_material.append(len(materials) - 1)
            except ValueError as error:
                raise ModelFileError(f"{path}:{number} is no face with texture coordinates: {error}") from error
    if not faces or min(face_material) < 0:
        raise ModelFileError(f"{path} holds no faces, or faces before the first material")
    return {
        "neutral": _numbers(path, lines, b"v ", 3),
        "uv": _numbers(path, lines, b"vt ", 2),
        "faces": np.array(faces, np.int32),
        "faces_uv": np.array(faces_uv, np.int32),
        "face_material": np.array(face_material, np.uint8),
        "material_names": np.array(materials, np.str_),
    }
