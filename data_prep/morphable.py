"""The morphable head model, as plain tensors in head space, and its pose.

Head space: millimetres, right-handed, x to the subject's left, y up, z out of the face, origin as ICT-FaceKit's (inside the
head, between the eyes and the neck). A head is ``mean + identity @ modes + expression @ offsets``; identity coefficients are
in standard deviations, expression coefficients 0 … 1 by ARKit's names.

Shapes: B heads, V vertices, K identity modes, E expressions, T triangles, U texture coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from data_prep import assets
from data_prep.morphable_ict import PART_LAST_VERTEX, VERTICES, ModelFileError, read_model
from jdap.geometry import axis_angle_to_matrix

MM_PER_CM = 10.0
PART_NAMES: tuple[str, ...] = tuple(dict.fromkeys(name for name, _ in PART_LAST_VERTEX))
#: Films and cards that a renderer with transparency lays over the eyes: opaque, they would hide them.
NOT_DRAWN = ("lacrimal_fluid", "eye_blend", "eye_occlusion", "eyelashes")
#: Where depth is supervised and measured: face with forehead and ears, and the front of the neck.
SKIN = ("face",)
#: Head axes (x left, y up, z out of the face) to camera axes (x right, y down, z forward) of a viewer in front.
HEAD_TO_VIEWER = (1.0, -1.0, -1.0)


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A linear head model whose vertices all have one topology.

    * ``mean_V3`` float32, millimetres; ``identity_KV3`` float32, millimetres per standard deviation, independent modes of unit
      variance, largest first; ``expression_EV3`` float32, millimetres at full strength
    * ``expression_names``: E names of ARKit with ``_L`` and ``_R`` (``jawOpen``, ``eyeBlink_L``)
    * ``faces_T3`` int64, counter-clockwise seen from outside in head space
    * ``face_part_T`` int64: index into :data:`PART_NAMES`
    * ``drawn_T`` bool: triangles that an opaque renderer draws (not tear films, blends and lashes)
    * ``skin_T`` bool: triangles where depth is supervised
    * ``uv_U2`` float32 and ``uv_faces_T3`` int64: texture coordinates with their own indexing, row by row with
      ``faces_T3``; v grows upwards
    """

    mean_V3: Tensor
    identity_KV3: Tensor
    expression_EV3: Tensor
    expression_names: tuple[str, ...]
    faces_T3: Tensor
    face_part_T: Tensor
    drawn_T: Tensor
    skin_T: Tensor
    uv_U2: Tensor
    uv_faces_T3: Tensor

    def __post_init__(self) -> None:
        v, t = len(self.mean_V3), len(self.faces_T3)
        shapes = {
            "mean_V3": (v, 3),
            "identity_KV3": (len(self.identity_KV3), v, 3),
            "expression_EV3": (len(self.expression_names), v, 3),
            "faces_T3": (t, 3),
            "face_part_T": (t,),
            "drawn_T": (t,),
            "skin_T": (t,),
            "uv_U2": (len(self.uv_U2), 2),
            "uv_faces_T3": (t, 3),
        }
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"MorphableModel.{name} must be {shape}, got {tuple(getattr(self, name).shape)}")

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.mean_V3.device

    def to(self, device: torch.device | str) -> Self:
        """The same model on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)})

    def vertices(self, identity_BK: Tensor, expression_BE: Tensor) -> Tensor:
        """Head-space vertices (B, V, 3) in millimetres, differentiable in both.

        ``identity_BK`` (B, K' <= K) in standard deviations, where missing modes count as 0; ``expression_BE`` (B, E), 0 … 1.
        Either may have B = 1. Raises ValueError for other sizes.
        """
        modes = identity_BK.shape[1]
        if modes > len(self.identity_KV3) or expression_BE.shape[1] != len(self.expression_EV3):
            raise ValueError(
                f"the model has {len(self.identity_KV3)} identity modes and {len(self.expression_EV3)} expressions, got "
                f"coefficients {tuple(identity_BK.shape)} and {tuple(expression_BE.shape)}"
            )
        shape = identity_BK @ self.identity_KV3[:modes].flatten(1) + expression_BE @ self.expression_EV3.flatten(1)
        return self.mean_V3 + shape.unflatten(1, self.mean_V3.shape)

    def subset(self, keep_T: Tensor) -> Self:
        """The model with only the triangles of the mask ``keep_T`` (T,) bool; vertices keep their numbers."""
        names = ("faces_T3", "face_part_T", "drawn_T", "skin_T", "uv_faces_T3")
        return replace(self, **{name: getattr(self, name)[keep_T] for name in names})

    def drawn(self) -> Self:
        """The model with only the triangles that an opaque renderer draws."""
        return self.subset(self.drawn_T)

    def part(self, *names: str) -> Tensor:
        """Mask (T,) bool of the triangles of these parts (:data:`PART_NAMES`); ValueError for an unknown name."""
        index = torch.tensor([PART_NAMES.index(name) for name in names], device=self.device)
        return torch.isin(self.face_part_T, index)

    def skin_faces(self) -> Tensor:
        """(S, 3) int64: the triangles of the skin."""
        return self.faces_T3[self.skin_T]


def head_to_camera(vertices_BV3: Tensor, rotation_B3: Tensor, translation_mm_B3: Tensor) -> Tensor:
    """Head-space to camera-space vertices (B, V, 3) in millimetres, differentiable.

    ``x_cam = R(rotation) @ diag(1, -1, -1) @ x_head + translation_mm``, so that rotation 0 is an upright face that looks
    into the camera. ``rotation_B3`` is axis-angle in radians, in camera axes; ``translation_mm_B3`` is where the head's origin
    lands. Any of the three may have B = 1.
    """
    flip = vertices_BV3.new_tensor(HEAD_TO_VIEWER)
    rotation = axis_angle_to_matrix(rotation_B3) * flip
    return vertices_BV3 @ rotation.transpose(1, 2) + translation_mm_B3[:, None]


def load_ict(path: Path | str | None = None, device: torch.device | str = "cpu") -> MorphableModel:
    """ICT-FaceKit: 26,719 vertices, 100 identity modes, 53 expressions, 52,220 triangles.

    ``path`` is the packed ``.npz``, the original ``FaceXModel`` folder of OBJ files, or a folder that holds either; without
    it the model comes from :func:`data_prep.assets.fetch`. Raises :class:`data_prep.morphable_ict.ModelFileError` for files
    that are missing or of another kind.
    """
    source = assets.fetch("ict_facekit") if path is None else Path(path)
    packed = read_model(source)
    if len(packed["neutral"]) != VERTICES:
        raise ModelFileError(f"{source} has {len(packed['neutral'])} vertices, the ICT-FaceKit head has {VERTICES}")
    faces = torch.from_numpy(packed["faces"].astype(np.int64))
    last = torch.tensor([vertex for _, vertex in PART_LAST_VERTEX])
    names = torch.tensor([PART_NAMES.index(name) for name, _ in PART_LAST_VERTEX])
    # Where a triangle joins two parts it belongs to the later one: the face's own triangles have only face vertices.
    part = names[torch.searchsorted(last, faces.amax(1))]

    def mask(chosen: tuple[str, ...]) -> Tensor:
        return torch.isin(part, torch.tensor([PART_NAMES.index(name) for name in chosen]))

    return MorphableModel(
        mean_V3=torch.from_numpy(packed["neutral"]) * MM_PER_CM,
        identity_KV3=torch.from_numpy(packed["identity"]).float() * MM_PER_CM,
        expression_EV3=torch.from_numpy(packed["expression"]).float() * MM_PER_CM,
        expression_names=tuple(packed["expression_names"].tolist()),
        faces_T3=faces,
        face_part_T=part,
        drawn_T=~mask(NOT_DRAWN),
        skin_T=mask(SKIN),
        uv_U2=torch.from_numpy(packed["uv"]),
        uv_faces_T3=torch.from_numpy(packed["faces_uv"].astype(np.int64)),
    ).to(device)
