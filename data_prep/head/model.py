"""The morphable head model, as plain tensors in head space, and its pose.

Head space: millimetres, right-handed, x to the subject's left, y up, z out of the face, origin as ICT-FaceKit's (inside
the head, behind the bridge of the nose). A head is ``mean + identity @ modes + expression @ offsets``; identity
coefficients are in standard deviations, expression coefficients 0 … 1 by ARKit's names.

Shapes: B heads, V vertices, K identity modes, E expressions, T triangles, U texture coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from data_prep.head import assets, ict
from jdap.geometry import head_rotation

MM_PER_CM = 10.0
PART_NAMES: tuple[str, ...] = tuple(dict.fromkeys(name for name, _ in ict.PART_LAST_VERTEX))
#: Films and cards for renderers with transparency. Drawn opaque, they would hide the eyes.
NOT_DRAWN = ("lacrimal_fluid", "eye_blend", "eye_occlusion", "eyelashes")


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A linear head model whose heads all have one topology.

    * ``mean_V3`` float32, millimetres
    * ``identity_KV3`` float32, millimetres per standard deviation: independent modes of unit variance, the widest first
    * ``expression_EV3`` float32, millimetres at full strength
    * ``expression_names``: E names of ARKit with ``_L`` and ``_R`` (``jawOpen``, ``eyeBlink_L``)
    * ``faces_T3`` int64, counter-clockwise seen from outside in head space
    * ``face_part_T`` int64: index into :data:`PART_NAMES`
    * ``drawn_T`` bool: what an opaque renderer draws (all but tear films, blends and lashes)
    * ``skin_T`` bool: where depth is supervised and measured: the face to the hairline and under the chin, and the
      ears. Not the scalp, which is hair on most people, nor the neck, which does not turn with the head
    * ``uv_U2`` float32, v upwards, and ``uv_faces_T3`` int64: texture coordinates with their own indexing, row by row
      with ``faces_T3``; the face is in the unit square, other materials in tiles beside it
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
        moved: dict[str, Any] = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    def vertices(self, identity_BK: Tensor, expression_BE: Tensor) -> Tensor:
        """Head-space vertices (B, V, 3) in millimetres, differentiable in both arguments.

        ``identity_BK`` (B, K' <= K) in standard deviations, the modes from K' on counting as 0; ``expression_BE``
        (B, E), 0 … 1. Either may have B = 1. Raises ValueError for other sizes.
        """
        modes = identity_BK.shape[1]
        if modes > len(self.identity_KV3) or expression_BE.shape[1] != len(self.expression_EV3):
            raise ValueError(
                f"the model has {len(self.identity_KV3)} identity modes and {len(self.expression_EV3)} expressions, "
                f"got coefficients {tuple(identity_BK.shape)} and {tuple(expression_BE.shape)}"
            )
        offset = identity_BK @ self.identity_KV3[:modes].flatten(1) + expression_BE @ self.expression_EV3.flatten(1)
        return self.mean_V3 + offset.unflatten(1, self.mean_V3.shape)

    def subset(self, keep_T: Tensor) -> Self:
        """The model with only the triangles of the mask ``keep_T`` (T,) bool; vertices keep their numbers."""
        names = ("faces_T3", "face_part_T", "drawn_T", "skin_T", "uv_faces_T3")
        kept: dict[str, Any] = {name: getattr(self, name)[keep_T] for name in names}
        return replace(self, **kept)

    def drawn(self) -> Self:
        """The model with only the triangles that an opaque renderer draws."""
        return self.subset(self.drawn_T)

    def part(self, *names: str) -> Tensor:
        """Mask (T,) bool of the triangles of these parts (:data:`PART_NAMES`); ValueError for an unknown name."""
        return _is_part(self.face_part_T, names)

    def skin_faces(self) -> Tensor:
        """(S, 3) int64: the triangles of the skin."""
        return self.faces_T3[self.skin_T]


def head_to_camera(vertices_BV3: Tensor, rotation_B3: Tensor, translation_mm_B3: Tensor) -> Tensor:
    """Head-space to camera-space vertices (B, V, 3) in millimetres, differentiable.

    ``x_cam = R(rotation) @ diag(1, -1, -1) @ x_head + translation_mm``, so that rotation 0 is an upright face that
    looks into the camera. ``rotation_B3`` is axis-angle in radians about the camera's axes; ``translation_mm_B3`` is
    where the head's origin lands. Any of the three may have B = 1.
    """
    return vertices_BV3 @ head_rotation(rotation_B3).transpose(1, 2) + translation_mm_B3[:, None]


def load_ict(path: Path | str | None = None, device: torch.device | str = "cpu") -> MorphableModel:
    """ICT-FaceKit: 26,719 vertices, 100 identity modes, 53 expressions, 52,220 triangles.

    ``path`` is the packed ``.npz``, the original ``FaceXModel`` folder of OBJ files, or a folder that holds either;
    without it the model comes from :func:`data_prep.head.assets.fetch`. Raises
    :class:`data_prep.head.ict.ModelFileError` for files that are missing or of another kind.
    """
    source = assets.fetch("ict_facekit") if path is None else Path(path)
    packed = ict.read_model(source)
    if len(packed["neutral"]) != ict.VERTICES:
        raise ict.ModelFileError(
            f"{source} has {len(packed['neutral'])} vertices, the ICT-FaceKit head has {ict.VERTICES}"
        )
    arrays = {name: torch.from_numpy(array) for name, array in packed.items() if array.dtype.kind != "U"}
    faces = arrays["faces"].long()
    last = torch.tensor([vertex for _, vertex in ict.PART_LAST_VERTEX])
    names = torch.tensor([PART_NAMES.index(name) for name, _ in ict.PART_LAST_VERTEX])
    # Where a triangle joins two parts it belongs to the later one, and to the head where only its material says so.
    part = names[torch.searchsorted(last, faces.amax(1))]
    back = arrays["face_material"] == packed["material_names"].tolist().index(ict.BACK_HEAD)
    part[back & _is_part(part, ("face",))] = PART_NAMES.index("head_neck")

    height_cm = arrays["neutral"][faces].mean(1)[:, 1]
    ears = (height_cm > ict.EARS_CM[0]) & (height_cm < ict.EARS_CM[1])
    narrow = faces.amax(1) <= ict.NARROW_FACE_LAST_VERTEX
    return MorphableModel(
        mean_V3=arrays["neutral"] * MM_PER_CM,
        identity_KV3=arrays["identity"].float() * MM_PER_CM,
        expression_EV3=arrays["expression"].float() * MM_PER_CM,
        expression_names=tuple(packed["expression_names"].tolist()),
        faces_T3=faces,
        face_part_T=part,
        drawn_T=~_is_part(part, NOT_DRAWN),
        skin_T=_is_part(part, ("face",)) & (narrow | ears),
        uv_U2=arrays["uv"],
        uv_faces_T3=arrays["faces_uv"].long(),
    ).to(device)


def _is_part(part_T: Tensor, names: tuple[str, ...]) -> Tensor:
    unknown = sorted(set(names) - set(PART_NAMES))
    if unknown:
        raise ValueError(f"no such part of the head: {', '.join(unknown)}; there are {', '.join(PART_NAMES)}")
    return torch.isin(part_T, torch.tensor([PART_NAMES.index(name) for name in names], device=part_T.device))
