"""References brought to where their heads are in a depth map, by that depth and two known poses alone.

Each point of the depth map is taken to the head's own axes and from there to the reference's camera, where its colour
is: x_r = R_r R_tᵀ (x_t − t_t) + t_r. So the whole head goes along, hair and glasses too, and no head model is needed.
What it cannot know is another expression: where the mouth has opened since, the reference's closed lips are stretched.

Shapes: B portraits, R references with B / R portraits each, S x S pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap.batch import ImageBatch
from jdap.geometry import head_rotation, normals_from_depth, project, unproject
from jdap.pipelines.moved import MovedReferences, MoveReference

#: Skin counts as seen from this cosine on between its normal and the direction to the reference's camera.
_FACING = 0.15
#: A point is hidden in the reference where another one lies so much nearer in the same cell of so many pixels a side.
_NEARER_MM, _CELL_PX = 12.0, 2


class PosedHeads(NamedTuple):
    """Heads before cameras: ``rotation_B33`` head axes to the camera's, ``translation_mm_B3``, and ``camera_px_B3``,
    focal length and principal point in pixels."""

    rotation_B33: Tensor
    translation_mm_B3: Tensor
    camera_px_B3: Tensor


def posed_heads(pose_B6: Tensor, camera_px_B3: Tensor) -> PosedHeads:
    """Heads of poses as shards hold them: axis-angle in radians and translation in mm (:mod:`jdap.data.pose`)."""
    return PosedHeads(head_rotation(pose_B6[:, :3]), pose_B6[:, 3:], camera_px_B3)


def carry(
    reference_rgb_B3SS: Tensor, reference: PosedHeads, depth_mm_B1SS: Tensor, portrait: PosedHeads
) -> MovedReferences:
    """References (B, 3, S, S) in [-1, 1], brought to the heads of depth maps (B, 1, S, S), mm, 0 = no value.

    Where the reference hides a point, the picture shows the same point of the head's other half, if it shows that, and
    what is seen of it is 0. Beyond the head it is the reference as it is.
    """
    turn = portrait.rotation_B33
    points = _turned(
        unproject(depth_mm_B1SS, portrait.camera_px_B3) - portrait.translation_mm_B3[..., None, None], turn.mT
    )
    normals = _turned(normals_from_depth(depth_mm_B1SS, portrait.camera_px_B3), turn.mT)
    has = depth_mm_B1SS > 0
    found, seen = _looked_up(reference_rgb_B3SS, reference, points, normals, has)
    mirror = points.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
    other, other_seen = _looked_up(reference_rgb_B3SS, reference, points * mirror, normals * mirror, has)
    rgb = torch.where(seen | ~other_seen, found, other)
    # A head of which the reference shows nothing is none.
    any_seen = seen.flatten(1).any(1)[:, None, None, None]
    shares = (torch.cat([has, seen], 1) & any_seen).to(reference_rgb_B3SS.dtype)
    return MovedReferences(torch.where(has, rgb, reference_rgb_B3SS), shares)


def known_mover(batch: ImageBatch, count: int | None = None) -> MoveReference | None:
    """What carries a batch's references to its first ``count`` pictures (None: to all), by the poses and the depth that
    its shards hold.

    It is for portraits on the batch's own depth. None where the batch has no poses.
    """
    if batch.pose is None or batch.reference_pose is None or batch.reference_camera_px is None:
        return None
    references = (batch.reference_rgb, batch.reference_pose, batch.reference_camera_px)
    rgb, pose, camera_px = (x.repeat_interleave(batch.targets, 0)[:count] for x in references)
    portrait = posed_heads(batch.pose[:count], batch.camera_px[:count])
    moved = carry(rgb, posed_heads(pose, camera_px), batch.depth_mm[:count], portrait)
    return lambda drawn, depth: moved


def _turned(maps_B3SS: Tensor, rotation_B33: Tensor) -> Tensor:
    return torch.einsum("bij,bjyx->biyx", rotation_B33, maps_B3SS)


def _looked_up(
    rgb_B3SS: Tensor, reference: PosedHeads, points_B3SS: Tensor, normals_B3SS: Tensor, has_B1SS: Tensor
) -> tuple[Tensor, Tensor]:
    """The colours (B, 3, S, S) of points in head axes, mm, and whether the reference shows them (B, 1, S, S) bool."""
    count, _, side, _ = points_B3SS.shape
    at = _turned(points_B3SS, reference.rotation_B33) + reference.translation_mm_B3[..., None, None]
    normals = _turned(normals_B3SS, reference.rotation_B33)
    px = project(at.flatten(2).mT, reference.camera_px_B3).view(count, side, side, 2)
    rgb = F.grid_sample(rgb_B3SS, px / side * 2 - 1, mode="bicubic", padding_mode="border", align_corners=False)

    cells = -(-side // _CELL_PX)
    cell = (px / _CELL_PX).floor().long()
    inside = ((px >= 0) & (px < side)).all(-1) & has_B1SS[:, 0] & (at[:, 2] > 0)
    # One cell more takes what is nowhere.
    index = torch.where(inside, cell[..., 1] * cells + cell[..., 0], cells * cells).flatten(1)
    z_mm = at[:, 2].flatten(1)
    nearest = z_mm.new_full((count, cells * cells + 1), torch.inf).scatter_reduce(1, index, z_mm, "amin")
    in_front = (z_mm < nearest.gather(1, index) + _NEARER_MM).view(count, side, side)
    # Edges have no normal.
    facing = (-(normals * F.normalize(at, dim=1)).sum(1) > _FACING) | (normals == 0).all(1)
    return rgb.clamp(-1, 1), (inside & in_front & facing)[:, None]
