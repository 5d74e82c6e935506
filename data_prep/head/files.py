"""Face models in the project's own file: a head model with mediapipe's landmarks on it.

``python -m data_prep convert-model`` writes such files (:mod:`data_prep.commands.convert_model`), ``--face-model FILE``
reads them. ``FILE.safetensors`` and ``FILE.npz`` hold the same members:

* ``mean`` (V, 3), ``identity`` (K, V, 3), ``expression`` (E, V, 3) float32, millimetres, as
  :class:`data_prep.head.model.MorphableModel` has them
* ``faces`` (T, 3), ``uv_faces`` (T, 3) int32; ``uv`` (U, 2) float32; ``part`` (T,), ``drawn`` (T,), ``skin`` (T,) uint8
* ``corners`` (468, 3) int32, ``weights`` (468, 3) and ``trust`` (468,) float32:
  :class:`data_prep.head.landmarks.Correspondence`
* ``own_expression`` (E, J) float32, where the model came with J expressions of its own: the coefficients of these (in
  standard deviations) that make each of the E expressions
* texts: ``format``, ``kind``, ``source`` (the file it was made of, with its SHA-256), and, one a line,
  ``expression_names`` and ``part_names``; together one JSON text, the metadata ``texts`` of a safetensors file, or a
  member of that name

Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch

from data_prep.head.ict import PACKED_NAME, ModelFileError
from data_prep.head.landmarks import LANDMARK_COUNT, Correspondence, load_correspondence
from data_prep.head.model import PART_NAMES, MorphableModel, load_ict
from jdap.io.files import write_whole

FORMAT = "jdap face model 1"
MODEL_SUFFIXES = (".safetensors", ".npz")
TEXTS, TEXT_NAMES = "texts", ("format", "kind", "source", "expression_names", "part_names")
HEAD_ARRAYS: dict[str, type[np.generic]] = {
    **dict.fromkeys(("mean", "identity", "expression", "uv", "weights", "trust"), np.float32),
    **dict.fromkeys(("faces", "uv_faces", "corners"), np.int32),
    **dict.fromkeys(("part", "drawn", "skin"), np.uint8),
}
OWN_EXPRESSION = "own_expression"
CONVERT_REMEDY = "make it with `python -m data_prep convert-model`"


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A head model, where mediapipe's landmarks lie on it, and what it was made of.

    ``own_expression_EJ`` (E, J) or (E, 0): see the module. ``kind`` and ``source`` are for people.
    """

    model: MorphableModel
    correspondence: Correspondence
    kind: str = "ict"
    source: str = ""
    own_expression_EJ: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def to(self, device: torch.device | str) -> FaceModel:
        """The same on another device."""
        moved = self.model.to(device), self.correspondence.to(device)
        return FaceModel(*moved, self.kind, self.source, self.own_expression_EJ)


def load_face_model(path: Path | str | None = None, device: torch.device | str = "cpu") -> FaceModel:
    """A file of :func:`save_face_model`; ICT-FaceKit with the shipped correspondence where ``path`` is None.

    Raises :class:`data_prep.head.ict.ModelFileError` for a file that is missing, damaged or of another kind.
    """
    if path is None:
        return FaceModel(load_ict(device=device), load_correspondence(device=device))
    path = Path(path)
    if path.is_dir() or path.name == PACKED_NAME:
        raise ModelFileError(f"{path} is ICT-FaceKit's own, which is used without --face-model")
    arrays, texts = read_arrays(path)
    missing = [name for name in HEAD_ARRAYS if name not in arrays] + [name for name in TEXT_NAMES if name not in texts]
    if missing or texts["format"] != FORMAT:
        raise ModelFileError(
            f"{path} is no face model of this project ({', '.join(missing) or 'format'}): {CONVERT_REMEDY}"
        )
    if texts["part_names"].split("\n") != list(PART_NAMES):
        raise ModelFileError(
            f"{path} was made by another version, with other parts of the head: {CONVERT_REMEDY} again"
        )
    for name, kind in HEAD_ARRAYS.items():
        if arrays[name].dtype != kind:
            raise ModelFileError(f"{path}: {name} must be {kind.__name__}, got {arrays[name].dtype}")
    return _checked(path, arrays, texts).to(device)


def _checked(path: Path, arrays: dict[str, np.ndarray], texts: dict[str, str]) -> FaceModel:
    """The model of the arrays, if their shapes agree, every index is in range and every number finite."""
    tensors = {name: torch.from_numpy(arrays[name]) for name in HEAD_ARRAYS}
    whole = {name: tensors[name].long() for name in ("faces", "uv_faces", "corners", "part")}
    try:
        model = MorphableModel(
            mean_V3=tensors["mean"],
            identity_KV3=tensors["identity"],
            expression_EV3=tensors["expression"],
            expression_names=tuple(texts["expression_names"].split("\n")),
            faces_T3=whole["faces"],
            face_part_T=whole["part"],
            drawn_T=tensors["drawn"].bool(),
            skin_T=tensors["skin"].bool(),
            uv_U2=tensors["uv"],
            uv_faces_T3=whole["uv_faces"],
        )
        correspondence = Correspondence(whole["corners"], tensors["weights"], tensors["trust"])
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}") from error
    vertices = len(model.mean_V3)
    for name, most in (("faces", vertices), ("corners", vertices), ("part", len(PART_NAMES))):
        if whole[name].numel() and not (whole[name].min() >= 0 and whole[name].max() < most):
            raise ModelFileError(f"{path}: {name} reaches outside of 0 … {most - 1}")
    if len(correspondence.trust_N) != LANDMARK_COUNT:
        raise ModelFileError(f"{path} holds {len(correspondence.trust_N)} landmarks, not {LANDMARK_COUNT}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelFileError(f"{path}: {name} holds numbers that are not finite")
    own = arrays.get(OWN_EXPRESSION, np.zeros((len(model.expression_names), 0), np.float32))
    return FaceModel(model, correspondence, texts["kind"], texts["source"], own)


def save_face_model(path: Path, face: FaceModel) -> None:
    """Write ``path`` (``.safetensors`` or ``.npz``), whole or not at all. Raises ModelFileError for another ending."""
    check_suffix(path)
    model, points = face.model, face.correspondence
    tensors = {
        "mean": model.mean_V3,
        "identity": model.identity_KV3,
        "expression": model.expression_EV3,
        "faces": model.faces_T3,
        "uv": model.uv_U2,
        "uv_faces": model.uv_faces_T3,
        "part": model.face_part_T,
        "drawn": model.drawn_T,
        "skin": model.skin_T,
        "corners": points.corners_N3,
        "weights": points.weights_N3,
        "trust": points.trust_N,
    }
    arrays = {name: np.ascontiguousarray(tensor.cpu().numpy(), HEAD_ARRAYS[name]) for name, tensor in tensors.items()}
    if face.own_expression_EJ.size:
        arrays[OWN_EXPRESSION] = np.ascontiguousarray(face.own_expression_EJ, np.float32)
    texts = {"format": FORMAT, "kind": face.kind, "source": face.source}
    texts |= {"expression_names": "\n".join(model.expression_names), "part_names": "\n".join(PART_NAMES)}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, **{TEXTS: np.array(json.dumps(texts))})  # type: ignore[arg-type]
        write_whole(path, buffer.getvalue())
    else:
        write_whole(path, safetensors.numpy.save(arrays, {TEXTS: json.dumps(texts)}))


def check_suffix(path: Path) -> None:
    """Raise ModelFileError for a file name that says neither of the two forms."""
    if path.suffix not in MODEL_SUFFIXES:
        raise ModelFileError(f"{path}: a face model's file ends in {' or '.join(MODEL_SUFFIXES)}")


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(members, texts) of a ``.safetensors`` or ``.npz`` file, whatever it holds.

    Raises ModelFileError for a file that is missing, damaged, of another ending, or holds pickled objects.
    """
    check_suffix(path)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                members = {name: file[name] for name in file}
            texts = str(members.pop(TEXTS, "{}"))
        else:
            with safetensors.safe_open(path, "numpy") as file:
                members = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                texts = (file.metadata() or {}).get(TEXTS, "{}")
        found = json.loads(texts)
        return members, found if isinstance(found, dict) else {}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelFileError(f"{path} cannot be read: {reason}") from error
