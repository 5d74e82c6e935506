"""Face models as their makers store them: FLAME (npz, safetensors) and the Basel Face Models (mat, h5) → arrays.

The layouts stand in ``docs/face_models.md``. What is read becomes a :class:`RawModel`: millimetres, x to the subject's
left, y up, z out of the face, one standard deviation a mode; the origin is the file's. Nothing is ever unpickled.

Shapes: V vertices, K identity modes, J own expressions, T triangles, U texture coordinates, Q joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError, matfile_version
from scipy.spatial.transform import Rotation

from data_prep.head.files import read_arrays
from data_prep.head.ict import ModelFileError

FLAME_MM, BFM_2009_MM, BFM_H5_MM = 1000.0, 1e-3, 1.0
#: FLAME's ``shapedirs`` are 300 of identity, then 100 of expression.
FLAME_SHAPES, FLAME_DIRECTIONS = 300, 400
#: FLAME's joints are root, neck, jaw, left eye, right eye. The jaw's own expressions: turns (radians, about x, y, z)
#: whose offsets are taken for linear. Opened by 0.3 the chin moves 30 mm, and the chord is 0.3 mm off the arc.
JAW, JAW_TURNS = 2, ((0.3, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.1))
#: What scipy calls MATLAB files that are HDF5, which version 7.3 is.
HDF5_VERSION = 2
PICKLE_HELP = (
    "it holds pickled objects, which run code when they are opened: "
    "turn it into a plain npz on your own machine by the script in docs/face_models.md"
)


@dataclass(frozen=True, eq=False)
class RawModel:
    """A model in millimetres and head axes.

    ``mean_V3``, ``identity_KV3`` and ``expression_JV3`` float32, mm (per standard deviation); ``faces_T3`` int64,
    counter-clockwise from outside; ``uv_U2`` float32 and ``uv_faces_T3`` int64, (0, 2) and −1 where the file has none.
    """

    mean_V3: np.ndarray
    identity_KV3: np.ndarray
    expression_JV3: np.ndarray
    faces_T3: np.ndarray
    uv_U2: np.ndarray
    uv_faces_T3: np.ndarray


def read_flame(path: Path, mm_per_unit: float = FLAME_MM, shape_modes: int | None = None) -> RawModel:
    """FLAME from an npz or safetensors file. ``shape_modes``: how many of ``shapedirs`` are identity (300 of 400).

    The jaw, where the file has its joint, becomes three more expressions. Raises ModelFileError.
    """
    if path.suffix in (".pkl", ".pickle"):
        raise ModelFileError(f"{path}: {PICKLE_HELP}")
    try:
        arrays, _ = read_arrays(path)
    except ModelFileError as error:
        if "allow_pickle" in str(error):
            raise ModelFileError(f"{path}: {PICKLE_HELP}") from error
        raise
    mean = _take(path, arrays, "v_template", (None, 3))
    vertices = len(mean)
    directions = _take(path, arrays, "shapedirs", (vertices, 3, None))
    if shape_modes is None and directions.shape[2] != FLAME_DIRECTIONS:
        raise ModelFileError(
            f"{path}: shapedirs holds {directions.shape[2]} directions, FLAME's {FLAME_DIRECTIONS}: "
            "say with --shape-modes how many of them are identity"
        )
    modes = FLAME_SHAPES if shape_modes is None else shape_modes
    if not 1 <= modes <= directions.shape[2]:
        raise ModelFileError(f"{path}: --shape-modes {modes} of {directions.shape[2]} directions in shapedirs")
    basis = directions.transpose(2, 0, 1)
    jaw = [] if "J_regressor" not in arrays else list(_jaw(path, arrays, mean))
    expression = np.concatenate([basis[modes:], *[offset[None] for offset in jaw]])
    return _raw(path, mean, basis[:modes], expression, _take(path, arrays, "f", (None, 3)), mm_per_unit, arrays)


def _jaw(path: Path, arrays: dict[str, np.ndarray], mean: np.ndarray) -> Any:
    """Offsets (V, 3) of the mean head for :data:`JAW_TURNS`: pose correctives, then linear blend skinning."""
    vertices = len(mean)
    joint = (_take(path, arrays, "J_regressor", (None, vertices)) @ mean)[JAW]
    weight = _take(path, arrays, "weights", (vertices, None))[:, JAW, None]
    for turn in JAW_TURNS:
        matrix = Rotation.from_rotvec(turn).as_matrix()
        offset = np.zeros_like(mean)
        if "posedirs" in arrays:  # of R − 1 of every joint but the root, nine numbers each
            correctives = _take(path, arrays, "posedirs", (vertices, 3, None))[..., 9 * (JAW - 1) : 9 * JAW]
            offset = correctives @ (matrix - np.eye(3)).reshape(-1)
        yield offset + weight * ((mean + offset - joint) @ (matrix - np.eye(3)).T)


def read_bfm(path: Path, mm_per_unit: float | None = None) -> RawModel:
    """A Basel Face Model: 2009 as ``.mat``, 2017 and 2019 as ``.h5``. Raises ModelFileError."""
    if path.suffix == ".mat":
        return _read_bfm_2009(path, BFM_2009_MM if mm_per_unit is None else mm_per_unit)
    if path.suffix in (".h5", ".hdf5"):
        return _read_bfm_h5(path, BFM_H5_MM if mm_per_unit is None else mm_per_unit)
    raise ModelFileError(f"{path}: a Basel Face Model is a .mat (2009) or an .h5 file (2017, 2019)")


def _read_bfm_2009(path: Path, mm_per_unit: float) -> RawModel:
    names = ("shapeMU", "shapePC", "shapeEV", "tl")
    try:
        with path.open("rb") as file:
            is_hdf5 = matfile_version(file)[0] == HDF5_VERSION
            arrays: dict[str, np.ndarray] = {} if is_hdf5 else scipy.io.loadmat(file, variable_names=names)
    except (OSError, ValueError, TypeError, EOFError, IndexError, MatReadError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelFileError(f"{path} cannot be read as a .mat file: {reason}") from error
    if is_hdf5:
        raise ModelFileError(f"{path} is a MATLAB 7.3 file; Basel's own is version 5: save it again with -v7")
    mean = _take(path, arrays, "shapeMU", (None, 1))[:, 0]
    components = _take(path, arrays, "shapePC", (len(mean), None))
    deviation = _take(path, arrays, "shapeEV", (components.shape[1], 1))[:, 0]
    identity = _points(path, (components * deviation).T)
    faces = _take(path, arrays, "tl", (None, 3)) - 1  # MATLAB counts from 1
    shape = _points(path, mean[None])[0]
    return _raw(path, shape, identity, np.zeros((0, *shape.shape)), faces, mm_per_unit, {})


def _read_bfm_h5(path: Path, mm_per_unit: float) -> RawModel:
    try:
        import h5py
    except ImportError as error:
        raise ModelFileError(f"{path} needs h5py: install it with `pip install jdap[basel]`") from error
    wanted = [
        f"{part}/model/{name}" for part in ("shape", "expression") for name in ("mean", "pcaBasis", "pcaVariance")
    ]
    arrays = {}
    try:
        with h5py.File(path, "r") as file:
            for name in (*wanted, "shape/representer/cells"):
                if isinstance(file.get(name), h5py.Dataset):
                    arrays[name] = file[name][()]
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read as an .h5 file: {error.strerror or error}") from error
    parts = {}
    for part in ("shape", "expression"):
        if part == "expression" and f"{part}/model/mean" not in arrays:
            continue
        mean = _take(path, arrays, f"{part}/model/mean", (None,))
        basis = _take(path, arrays, f"{part}/model/pcaBasis", (len(mean), None))
        variance = _take(path, arrays, f"{part}/model/pcaVariance", (basis.shape[1],))
        parts[part] = mean, _points(path, (basis * np.sqrt(variance.clip(0))).T)
    mean, identity = parts["shape"]
    expression = np.zeros((0, *identity.shape[1:]))
    if "expression" in parts:
        # The mean expression is part of the mean head; the modes are around it.
        mean, expression = mean + _same(path, parts["expression"][0], mean), parts["expression"][1]
    cells = _take(path, arrays, "shape/representer/cells", (3, None)).T
    return _raw(path, _points(path, mean[None])[0], identity, expression, cells, mm_per_unit, {})


def _take(path: Path, arrays: dict[str, np.ndarray], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """A member as float64, if it is there, numeric, finite and of this shape (None: any)."""
    if name not in arrays:
        raise ModelFileError(f"{path} lacks {name}; it has {', '.join(sorted(arrays)) or 'nothing that is known'}")
    array = arrays[name]
    if array.dtype.kind not in "fiu" or array.ndim != len(shape):
        raise ModelFileError(f"{path}: {name} must be numbers {shape}, got {array.dtype} {array.shape}")
    if any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)) or not array.size:
        raise ModelFileError(f"{path}: {name} must be {shape}, got {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ModelFileError(f"{path}: {name} holds numbers that are not finite")
    return array


def _points(path: Path, rows: np.ndarray) -> np.ndarray:
    """Rows of x, y, z, x, y, z … (R, 3 V) → (R, V, 3)."""
    if rows.shape[1] % 3:
        raise ModelFileError(f"{path}: {rows.shape[1]} coordinates are no whole number of points")
    return rows.reshape(len(rows), -1, 3)


def _same(path: Path, array: np.ndarray, other: np.ndarray) -> np.ndarray:
    if array.shape != other.shape:
        raise ModelFileError(f"{path}: shape has {len(other)} coordinates, expression {len(array)}")
    return array


def _raw(
    path: Path,
    mean: np.ndarray,
    identity: np.ndarray,
    expression: np.ndarray,
    faces: np.ndarray,
    mm_per_unit: float,
    textured: dict[str, np.ndarray],
) -> RawModel:
    """Millimetres, and triangles that face outwards. Modes keep the file's order, which is the widest first."""
    triangles = faces.astype(np.int64)
    if triangles.min() < 0 or triangles.max() >= len(mean):
        raise ModelFileError(f"{path}: its triangles name vertices outside of 0 … {len(mean) - 1}")
    uv, uv_faces = np.zeros((0, 2)), np.full_like(triangles, -1)
    if {"vt", "ft"} <= set(textured):
        uv, uv_faces = _take(path, textured, "vt", (None, 2)), _take(path, textured, "ft", faces.shape).astype(np.int64)
    middle = (mean.max(0) + mean.min(0)) / 2
    a, b, c = ((mean - middle)[triangles[:, i]] for i in range(3))
    # The volume seen from the middle is negative where triangles run clockwise.
    turn = [0, 1, 2] if (a * np.cross(b, c)).sum() > 0 else [0, 2, 1]
    shape, modes, moves = ((array * mm_per_unit).astype(np.float32) for array in (mean, identity, expression))
    return RawModel(shape, modes, moves, triangles[:, turn], uv.astype(np.float32), uv_faces[:, turn])
