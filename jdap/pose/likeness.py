"""Portraits with the face of their reference: it is moved to where the depth has a head, to draw by and to put on.

The model settles pose, expression, light, hair and all around the face; small weights blur what tells a person from
another. That is in the reference. A head is fitted to the reference, and one to what was drawn: to the mean of the
landmarks that are found in the picture and in its depth, seen as clay. The reference's head goes to the drawn one's
place, and some of the way to its expression, and the photo's texture goes with it (:mod:`jdap.pose.motion`,
:mod:`jdap.pose.warp`).

The picture that comes of it is shown to the model while it draws (:func:`reference_mover`,
:mod:`jdap.models.image.likeness_net`). Of what is drawn in the end, the face is put on (:func:`keep_likeness`), in the
drawing's light: what the two pictures differ by over a wide Gaussian is taken off.

Shapes: B portraits, S x S pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.blur import gaussian_blur
from jdap.faces.crop import crop_frame
from jdap.faces.landmarker import Face
from jdap.photos.read import Photo
from jdap.pipelines.moved import MovedReferences, MoveReference
from jdap.pipelines.pictures import Portrait
from jdap.pose.change import PoseError
from jdap.pose.heads import Heads
from jdap.pose.motion import Motion, Mover
from jdap.pose.photo import fit_photo
from jdap.pose.pipeline import MOTION_SIDE_PX
from jdap.pose.warp import drawn
from jdap.shape.clay import clay

#: Motion is made on a grid of this side: portraits are smaller.
LIKENESS_GRID_PX = 256
#: Over how much of a picture's side light is compared, and a face fades out at its edge.
LIGHT_SHARE, EDGE_SHARE = 0.125, 0.016
#: How far the face takes the drawn expression, which a blurred drawing tells badly: identity of 24 validation people's
#: portraits is 0.405 at 1, 0.375 at 0.4 and 0; on given depth 0.470, 0.458, 0.460.
DRAWN_EXPRESSION = 0.4
#: A face that is seen on a smaller share of the picture is none.
LEAST_FACE = 0.006


class ReferenceFace(NamedTuple):
    """A square picture ``rgb_SS3`` (uint8) of :data:`jdap.pose.pipeline.MOTION_SIDE_PX` pixels, and its head, ready to
    be moved."""

    rgb_SS3: np.ndarray
    mover: Mover


class Likeness(NamedTuple):
    """``rgb`` (B, 3, S, S) in [-1, 1]; ``kept`` (B,) bool: which have the face of their reference. The others, in which
    no face was found, are as they were drawn."""

    rgb: Tensor
    kept: Tensor


def face_in_photo(heads: Heads, photo: Photo, window_px: np.ndarray) -> ReferenceFace | None:
    """The face in a window (left, top, side) of a photo, by its own lens if EXIF tells. None where none is found."""
    try:
        head = fit_photo(heads, photo, window_px)
    except PoseError:
        return None
    pixels = crop_frame(photo.rgb_HW3, window_px, MOTION_SIDE_PX).copy()
    return ReferenceFace(pixels, Mover(heads, head, LIKENESS_GRID_PX))


def face_in_picture(heads: Heads, rgb_3SS: Tensor) -> ReferenceFace | None:
    """The same of a small picture by itself, (3, S, S) in [-1, 1]."""
    pixels = enlarged(rgb_3SS)
    try:
        return ReferenceFace(pixels, Mover(heads, heads.fit(pixels), LIKENESS_GRID_PX))
    except PoseError:
        return None


class MovedFace(NamedTuple):
    """A reference with its head elsewhere, ``rgb_13SS`` in [-1, 1]; shares of pixels that are of the face, and that of
    this the reference shows, ``seen_12SS`` in [0, 1]; and how it moved."""

    rgb_13SS: Tensor
    seen_12SS: Tensor
    motion: Motion


def move_face(heads: Heads, points_V3: Tensor, reference: ReferenceFace, side: int) -> MovedFace:
    """A reference with its head as these vertices (V, 3) are, camera space, mm, as a picture of ``side`` pixels."""
    motion = reference.mover.to(points_V3)
    face_T = heads.face_T & (heads.model.skin_T | heads.mouth_T | heads.eyes_T)
    seen = (face_T[motion.part_SS.clamp_min(0)] & (motion.part_SS >= 0)).float()
    shares = torch.stack([seen, seen * ~motion.stretched_SS])[None]
    pixels = drawn(reference.rgb_SS3, np.array([0.0, 0.0, MOTION_SIDE_PX]), heads, motion)
    moved = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    moved = F.interpolate(moved, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
    return MovedFace(moved, F.interpolate(shares, (side, side), mode="area"), motion)


def reference_mover(heads: Heads, references: Sequence[ReferenceFace | None]) -> MoveReference:
    """What moves the references, one for each portrait, to the heads that a pipeline draws, for its ``move``."""

    def move(rgb: Tensor | None, depth: Tensor) -> MovedReferences:
        side = depth.shape[-1]
        pictures, seen = torch.zeros(len(depth), 3, side, side), torch.zeros(len(depth), 2, side, side)
        for k, face in enumerate(_drawn_faces(heads, rgb, depth, references)):
            reference = references[k]
            if face is not None and reference is not None:
                moved = _moved_to(heads, face, reference, side)
                pictures[k], seen[k] = moved.rgb_13SS[0], moved.seen_12SS[0]
        return MovedReferences(pictures.to(depth), seen.to(depth))

    return move


def keep_likeness(heads: Heads, portraits: Portrait, references: Sequence[ReferenceFace | None]) -> Likeness:
    """Portraits (tensors, in [-1, 1]) with the faces of their references, one for each.

    The depth is looked at and stays.
    """
    made, kept = [], []
    faces = _drawn_faces(heads, portraits.rgb, portraits.depth, references)
    for rgb_3SS, face, reference in zip(portraits.rgb.float().cpu(), faces, references, strict=True):
        found = None if face is None or reference is None else _put_on(heads, rgb_3SS, face, reference)
        made.append(rgb_3SS if found is None else found)
        kept.append(found is not None)
    return Likeness(torch.stack(made).to(portraits.rgb), torch.tensor(kept))


def _drawn_faces(
    heads: Heads, rgb: Tensor | None, depth: Tensor, references: Sequence[ReferenceFace | None]
) -> list[Face | None]:
    """The faces that were drawn: of each the mean of the two that RGB and depth show, or the one that is found.

    Without a reference's face none is looked for. Raises ValueError unless there is one reference for each portrait.
    """
    if len(references) != len(depth):
        raise ValueError(f"{len(references)} references for {len(depth)} portraits: give one for each")
    reliefs = clay(depth.float().cpu())
    return [
        None if reference is None else _drawn_face(heads, None if rgb is None else rgb[k], reliefs[k])
        for k, reference in enumerate(references)
    ]


def _drawn_face(heads: Heads, rgb_3SS: Tensor | None, relief_3SS: Tensor) -> Face | None:
    seen, shaped = (None if x is None else heads.find(enlarged(x)) for x in (rgb_3SS, relief_3SS))
    if seen is None or shaped is None:
        return seen or shaped
    return replace(
        seen,
        landmarks_px_N3=(seen.landmarks_px_N3 + shaped.landmarks_px_N3) / 2,
        blendshapes_B=(seen.blendshapes_B + shaped.blendshapes_B) / 2,
    )


def _moved_to(heads: Heads, face: Face, reference: ReferenceFace, side: int) -> MovedFace:
    """A reference with its head where a face was found, and some of the way to its expression."""
    head = reference.mover.head
    other = heads.fit_face(face, MOTION_SIDE_PX, head.camera)
    other = replace(other, expression_E=torch.lerp(head.expression_E, other.expression_E, DRAWN_EXPRESSION))
    return move_face(heads, heads.acting(head, other), reference, side)


def _put_on(heads: Heads, rgb_3SS: Tensor, face: Face, reference: ReferenceFace) -> Tensor | None:
    """(3, S, S): the drawn picture with the reference's face; None where too little of it would be seen."""
    side = rgb_3SS.shape[-1]
    moved, seen, motion = _moved_to(heads, face, reference, side)
    mask = (seen[:, :1] > 0.5).float()
    if mask.mean() < LEAST_FACE:
        return None
    # Light is compared on the face alone: hair and background beside it have other colours.
    near = gaussian_blur(mask, LIGHT_SHARE * side).clamp_min(1e-3)
    lit = moved + gaussian_blur((rgb_3SS[None] - moved) * mask, LIGHT_SHARE * side) / near
    share = ((gaussian_blur(mask, EDGE_SHARE * side) - 0.1) / 0.8).clamp(0, 1)
    # Skin that the reference does not show is the model's: stretched from beside it, it has scratches. Where the other
    # half of the face stands in for it, glasses and brows would end in the middle: there it is half of each.
    hidden = motion.stretched_SS.float() * torch.where(motion.mirrored_SS, 0.5, 1.0)
    hidden = F.interpolate(hidden[None, None], (side, side), mode="area")
    share = share * (1 - gaussian_blur(hidden, EDGE_SHARE * side))
    return torch.lerp(rgb_3SS[None], lit, share).clamp(-1, 1)[0]


def enlarged(rgb_3SS: Tensor) -> np.ndarray:
    """A picture in [-1, 1] as (S, S, 3) uint8 of :data:`jdap.pose.pipeline.MOTION_SIDE_PX` pixels a side."""
    sized = F.interpolate(rgb_3SS[None].float().cpu(), (MOTION_SIDE_PX,) * 2, mode="bicubic", antialias=True)[0]
    return ((sized.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()
