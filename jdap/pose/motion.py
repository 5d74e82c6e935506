"""How a picture moves when the head in it does: for every pixel, where it was.

Where the changed mesh is seen, and what is seen there was seen before, the answer is exact: the same point of the mesh,
projected before. Elsewhere (skin that was hidden, hair, the background beside the head) the answer is a membrane,
Laplace's equation, between what is known and the rest of the picture, which stays; skin never comes from beside the
head.

Shapes: S x S pixels, V vertices, T triangles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor

from jdap.geometry import project, vertex_normals
from jdap.pose.edges import Edges, MovedGap
from jdap.pose.heads import FittedHead, Heads
from jdap.shape.membrane import membrane, relaxed
from jdap.shape.rasterise import Fragments, interpolate, per_face, rasterise

#: What moves beside the head fades out over this share of the picture's side.
BESIDE = 0.16
#: A point that lies deeper than this behind what was seen there was hidden, mm.
HIDDEN_MM = 3.0
#: Cosine to the viewer from which the model is believed beside the face.
SURE = 0.5
#: Skin is seen from its edge under this cosine, and turns to the viewer if its cosine grows by more than this.
GRAZING, TURNS_TO = 0.3, 0.03
#: The other half of the face stands for what is hidden where its cosine is above this.
MIRRORED = 0.4
#: How far the edge of a head reaches into it, as a share of the picture's side.
RIM = 0.008
#: Rounds where skin was taken from the head's edge, so that it meets what is beside it.
SOFTER = 12
#: What moves by less than this many pixels stays.
STILL_PX = 0.02


@dataclass(frozen=True, eq=False)
class Motion:
    """* ``from_2SS``: where (x, y, pixels) each pixel was, less where it is; 0 where nothing moves
    * ``farther_SS``: how much farther it is now, mm; ``depth_SS``: of the changed head, mm, 0 = not the head
    * ``old_depth_SS``: of the head before
    * ``stretched_SS`` bool: skin that the photo does not show, stretched from beside it
    * ``mirrored_SS`` bool: of that, what the other half of the face shows; ``mirror_2SS``: where (x, y, pixels) it does
    * ``inner_SS`` bool: mouth and eyes; ``inside_SS`` bool: of these, what the photo does not show
    * ``gaps``: mouth and eyes, how their edges go (:mod:`jdap.pose.edges`)
    * ``part_SS`` int64: triangle that is seen, -1 = none, ``old_part_SS`` before
    * ``facing_SS``: its cosine to the viewer
    * ``head_SS`` bool: the head, before or after
    """

    from_2SS: Tensor
    farther_SS: Tensor
    depth_SS: Tensor
    old_depth_SS: Tensor
    stretched_SS: Tensor
    mirrored_SS: Tensor
    mirror_2SS: Tensor
    inner_SS: Tensor
    inside_SS: Tensor
    gaps: tuple[MovedGap, ...]
    part_SS: Tensor
    old_part_SS: Tensor
    facing_SS: Tensor
    head_SS: Tensor

    @property
    def size(self) -> int:
        """Pixels across."""
        return self.depth_SS.shape[-1]

    @property
    def unseen(self) -> float:
        """The share of the changed head, in [0, 1], that the photo does not show."""
        head = self.depth_SS > 0
        return float((self.stretched_SS | self.inside_SS).sum() / head.sum().clamp_min(1))


class Mover:
    """A fitted head in its picture, ready to be moved; the grid has ``size`` pixels across."""

    def __init__(self, heads: Heads, head: FittedHead, size: int) -> None:
        self.heads, self.head, self.size = heads, head, size
        self.faces_T3 = heads.model.faces_T3
        self.camera_px_3 = head.camera_px_3 * (size / head.size)
        self.old_V3 = heads.vertices(head)
        self.before = self._rasterised(self.old_V3)
        self._faced_T = _facing(self.old_V3, self.faces_T3)
        self.rigid_SS = per_face(self.before, heads.moves_T)[0].bool()
        self._facing_V = -(vertex_normals(self.old_V3[None], self.faces_T3)[0] * F.normalize(self.old_V3, dim=1)).sum(1)
        # Up to the edge of a head pixels are half of what is behind it.
        self._head_SS = self.before.mask[0].numpy()
        inside = binary_erosion(self._head_SS, iterations=max(1, round(RIM * size)))
        self._inside_2SS = distance_transform_edt(~inside, return_distances=False, return_indices=True)
        self._edges = Edges(heads, head, size)

    def to(self, new_V3: Tensor) -> Motion:
        """The motion to the changed head (V, 3) in camera space."""
        heads, size = self.heads, self.size
        after = self._rasterised(new_V3)
        was = interpolate(after, self.faces_T3, self.old_V3[None])[0]
        seen, rigid = after.mask[0], per_face(after, heads.moves_T)[0].bool()
        at = torch.stack(torch.meshgrid(*[torch.arange(size) + 0.5] * 2, indexing="xy"))
        place = project(was[seen][None], self.camera_px_3[None])[0]
        moved = torch.zeros(3, size, size)
        moved[:2, seen] = (place - at[:, seen].T).T
        moved[2, seen] = after.depth_mm[0][seen] - was[seen][:, 2]
        shown = torch.zeros_like(seen)
        shown[seen] = _was_seen(self.before.depth_mm[0], place, was[seen][:, 2])
        inner = per_face(after, heads.mouth_T | heads.eyes_T)[0].bool()
        # Beside the face the model is a guess, mostly under hair: there only what looks at the viewer counts. In the
        # face all does but what was seen from its edge and turns to the viewer: it would be drawn out to stripes.
        facing, faced = (per_face(after, of_T)[0] for of_T in (_facing(new_V3, self.faces_T3), self._faced_T))
        well = (faced > GRAZING) | (facing < faced + TURNS_TO)
        face = per_face(after, heads.face_T)[0].bool()
        known = shown & rigid & ((face & well) | (torch.minimum(facing, faced) > SURE))
        head_SS = self.rigid_SS | rigid
        still = torch.from_numpy(distance_transform_edt(~head_SS.numpy())) > BESIDE * size
        still[[0, -1]], still[:, [0, -1]] = True, True
        still &= ~known
        moved = membrane(torch.where(known, moved, 0.0), known | still)
        skin = rigid & per_face(after, heads.model.skin_T)[0].bool()
        within = self._within(moved[:2].clone(), at, skin & ~known)
        if not torch.equal(within, moved[:2]):
            moved[:2] = relaxed(within, known | still, SOFTER)
        moved[:2] *= moved[:2].square().sum(0) > (STILL_PX * size / 512) ** 2
        parts = after.face[0], self.before.face[0], facing, head_SS
        depths = after.depth_mm[0], self.before.depth_mm[0]
        lost = skin & ~(shown & well)
        mirrored, mirror = self._mirror(after, lost)
        skins = lost, mirrored, mirror
        return Motion(moved[:2], moved[2], *depths, *skins, inner, inner & ~shown, self._edges.to(new_V3), *parts)

    def _mirror(self, after: Fragments, which_SS: Tensor) -> tuple[Tensor, Tensor]:
        """Which of some skin the other half of the face shows well, (S, S) bool, and where, (2, S, S) pixels."""
        other = self.heads.mirror_V
        channels = torch.cat([self.old_V3[other], self._facing_V[other, None]], 1)
        point, facing = interpolate(after, self.faces_T3, channels[None])[0][which_SS].split([3, 1], -1)
        place = project(point[None], self.camera_px_3[None])[0]
        well = (facing[:, 0] > MIRRORED) & _was_seen(self.before.depth_mm[0], place, point[:, 2])
        mask, mirror = torch.zeros_like(which_SS), torch.zeros(2, *which_SS.shape)
        mask[which_SS], mirror[:, which_SS] = well, place.T
        return mask, mirror

    def _within(self, from_2SS: Tensor, at_2SS: Tensor, which_SS: Tensor) -> Tensor:
        """Skin that would be taken from beside the head is taken from its edge."""
        column, row = ((from_2SS + at_2SS)[:, which_SS]).long().clamp(0, self.size - 1)
        y, x = (torch.from_numpy(index)[row, column] for index in self._inside_2SS)
        outside = ~torch.from_numpy(self._head_SS)[row, column]
        nearest = torch.stack([x, y]) + 0.5 - at_2SS[:, which_SS]
        from_2SS[:, which_SS] = torch.where(outside, nearest, from_2SS[:, which_SS])
        return from_2SS

    def _rasterised(self, vertices_V3: Tensor) -> Fragments:
        size = self.size
        return rasterise(vertices_V3[None], self.faces_T3, self.camera_px_3[None], size, size, cull_back_faces=True)


def _was_seen(depth_SS: Tensor, place_N2: Tensor, z_N: Tensor) -> Tensor:
    """(N,) bool: whether points at depth z were the nearest where they were; the four pixels around are asked."""
    size = depth_SS.shape[-1]
    corner = (place_N2 - 0.5).floor().long()
    found = torch.zeros(len(z_N), dtype=torch.bool)
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (y >= 0) & (x < size) & (y < size)
            z = depth_SS[y.clamp(0, size - 1), x.clamp(0, size - 1)]
            found |= inside & (z > 0) & (z_N <= z + HIDDEN_MM)
    return found


def _facing(vertices_V3: Tensor, faces_T3: Tensor) -> Tensor:
    """(T,): the cosine between each triangle's normal and the way to the viewer."""
    # Axes first: torch sums over a short last axis slowly.
    a, b, c = vertices_V3.T[:, faces_T3.T].unbind(1)
    normal = torch.linalg.cross(b - a, c - a, dim=0)
    # A cosine by squares: torch's norm over the first axis takes fifty times as long.
    lengths = normal.square().sum(0) * a.square().sum(0)
    return -(normal * a).sum(0) / lengths.sqrt().clamp_min(1e-12)


def grown(mask_SS: Tensor, reach: int) -> Tensor:
    """(S, S) bool: what lies within so many pixels of a mask, across and down."""
    # Along one axis and then the other: in one go a wide window costs its square.
    across = F.max_pool2d(mask_SS[None, None].float(), (1, 2 * reach + 1), 1, (0, reach))
    return F.max_pool2d(across, (2 * reach + 1, 1), 1, (reach, 0))[0, 0] > 0


def degrees(rotation_33: Tensor) -> tuple[float, float, float]:
    """How a head (rotation of its axes to the camera's) looks: yaw to the right, pitch upwards, roll clockwise."""
    x, y, z = rotation_33[:, 2].tolist()  # where the face looks
    up = rotation_33[:, 1]
    yaw, pitch = math.atan2(x, -z), math.asin(max(-1.0, min(1.0, -y)))
    side = torch.tensor([math.cos(yaw), 0.0, math.sin(yaw)])
    over = torch.linalg.cross(side, torch.tensor([x, y, z]))
    roll = math.atan2(float(up @ side), float(up @ -over) if float(over[1]) > 0 else float(up @ over))
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
