"""The surface that hair and hats are built on, measured once on the mean head: paths that run from the crown down all
round, over the scalp (``hug``) or falling free from where the head is widest (``hang``).

Shapes: A azimuths, S steps along a path, H vertices of the head, R rows of a shell, K anchors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.head.model import PART_NAMES
from data_prep.studio.looks.regions import HeadRegions

AZIMUTHS, STEP_MM, CAP_STEPS = 96, 4.0, 110
#: Middle of the skull, from which it is star-shaped, and the height under which hair stands off sideways only.
CENTRE_MM = (0.0, 40.0, -12.0)
ANCHORS = 4
_WIDEST_RAD = 1.95
#: Neck and shoulders, by height: what falling hair, collars and scarves lie on.
TORSO_TOP_MM, TORSO_STEP_MM, TORSO_STEPS = -70.0, 6.0, 34


@dataclass(frozen=True, eq=False)
class Cap:
    """* ``azimuth_A``: radians, 0 in front, growing to the subject's left
    * ``hug_AS3``, ``hang_AS3``: paths, mm, in steps of :data:`STEP_MM`
    * ``above_AS``: height over the hairline at the points of ``hug``, mm
    * ``anchors_ASK``, ``weights_ASK``: vertices of the head that a point of the paths follows
    * ``torso_AY``: distance of neck and shoulders from the vertical axis through the skull's middle, mm
    """

    azimuth_A: Tensor
    hug_AS3: Tensor
    hang_AS3: Tensor
    above_AS: Tensor
    anchors_ASK: Tensor
    weights_ASK: Tensor
    torso_AY: Tensor

    def crossing(self, below_AS: Tensor) -> Tensor:
        """(A,) mm: how far along each path the first point of the mask ``below_AS`` is."""
        return below_AS.float().argmax(1) * STEP_MM

    def points(self, along_mm_AR: Tensor, lift_mm_AR: Tensor, hang_A: Tensor, moved_H3: Tensor | None = None) -> Tensor:
        """(A, R, 3) mm: points so far along the paths, lifted off the surface; ``hang_A`` 0 … 1 blends from hug to
        hang; ``moved_H3`` is how the vertices of the head differ from the mean head's."""
        hang = hang_A[:, None, None]
        table = self.hug_AS3 + hang * (self.hang_AS3 - self.hug_AS3)
        if moved_H3 is not None:
            table = table + (moved_H3[self.anchors_ASK] * self.weights_ASK[..., None]).sum(2)
        at = sample_rows(table, along_mm_AR)
        return at + lift_mm_AR[..., None] * outward(at)

    def torso(self, height_mm_AR: Tensor) -> Tensor:
        """(A, R) mm: how far neck and shoulders are from the axis at these heights."""
        at = (TORSO_TOP_MM - height_mm_AR) / TORSO_STEP_MM * STEP_MM
        return sample_rows(self.torso_AY[..., None], at)[..., 0]


def sample_rows(table_ASC: Tensor, along_mm_AR: Tensor) -> Tensor:
    """(A, R, C): rows of a table, linear between its steps, constant beyond its ends."""
    at = (along_mm_AR / STEP_MM).clamp(0, table_ASC.shape[1] - 1.001)
    low = at.floor().long()
    t = (at - low)[..., None]
    index = low[..., None].expand(-1, -1, table_ASC.shape[2])
    return table_ASC.gather(1, index) * (1 - t) + table_ASC.gather(1, index + 1) * t


def outward(points_AR3: Tensor) -> Tensor:
    """Unit vectors away from the skull's middle, and from the vertical axis below it."""
    middle = points_AR3.new_tensor(CENTRE_MM).expand(points_AR3.shape).clone()
    middle[..., 1] = points_AR3[..., 1].clamp_max(CENTRE_MM[1])
    return F.normalize(points_AR3 - middle, dim=-1)


def measure_cap(rest_H3: Tensor, faces_T3: Tensor, part_T: Tensor, regions: HeadRegions) -> Cap:
    """Measure the paths on the mean head; its ears are left out, for hair may lie under or over them."""
    outer = torch.isin(part_T, torch.tensor([PART_NAMES.index(n) for n in ("face", "head_neck")], device=part_T.device))
    vertices = faces_T3[outer].unique()
    x, y, z = rest_H3[vertices].unbind(1)
    near_ear = (x.abs() > 64) & (z > -45) & (z < 26) & (y > -32) & (y < 50) & (regions.ears[vertices] > 0.02)
    skull = vertices[~near_ear & (y > -150)]
    azimuth = torch.arange(AZIMUTHS, device=rest_H3.device) * (2 * torch.pi / AZIMUTHS)
    polar = torch.arange(0, 62, device=rest_H3.device) * (2.6 / 61)
    ring = torch.stack([azimuth.sin(), torch.zeros_like(azimuth), azimuth.cos()], 1)
    up = rest_H3.new_tensor([0.0, 1.0, 0.0])
    directions = polar.sin()[:, None] * ring[:, None] + polar.cos()[:, None] * up
    centre = rest_H3.new_tensor(CENTRE_MM)
    radius = (rest_H3[skull] - centre).norm(dim=1)
    cosine = directions.flatten(0, 1) @ ((rest_H3[skull] - centre) / radius[:, None]).T
    # A Gaussian of 3 degrees, in favour of what is outside where the face has folds.
    weight = torch.exp(360 * (cosine - cosine.amax(1, keepdim=True)) + (radius - 100) / 25)
    top = weight.topk(ANCHORS * 6, dim=1)
    share = top.values / top.values.sum(1, keepdim=True)
    r = (share * radius[top.indices]).sum(1).view(AZIMUTHS, -1, 1)
    above = (share * regions.above_hairline_mm[skull][top.indices]).sum(1).view(AZIMUTHS, -1)
    anchors, weights = skull[top.indices[:, :ANCHORS]], F.normalize(top.values[:, :ANCHORS], p=1, dim=1)
    on_scalp = centre + r * directions

    # From steps in angle to steps in length.
    length = torch.cat([r.new_zeros(AZIMUTHS, 1), on_scalp.diff(dim=1).norm(dim=2).cumsum(1)], 1)
    wanted = (torch.arange(CAP_STEPS, device=r.device) * STEP_MM).expand(AZIMUTHS, -1).contiguous()
    low = (torch.searchsorted(length.contiguous(), wanted, right=True) - 1).clamp(0, length.shape[1] - 2)
    t = ((wanted - length.gather(1, low)) / (length.gather(1, low + 1) - length.gather(1, low))).clamp(0, 1)

    def resample(values_AP: Tensor) -> Tensor:
        index = low[..., None].expand(-1, -1, values_AP.shape[2])
        return values_AP.gather(1, index) * (1 - t[..., None]) + values_AP.gather(1, index + 1) * t[..., None]

    hug = resample(on_scalp)
    index = low[..., None].expand(-1, -1, ANCHORS)
    anchors = anchors.view(AZIMUTHS, -1, ANCHORS).gather(1, index)
    weights = weights.view(AZIMUTHS, -1, ANCHORS).gather(1, index)
    torso = _measure_torso(rest_H3[vertices], azimuth)
    cap = Cap(azimuth, hug, hug, resample(above[..., None])[..., 0], anchors, weights, torso)
    return Cap(azimuth, hug, _falling(cap, length, polar), cap.above_AS, anchors, weights, torso)


def _falling(cap: Cap, length_AP: Tensor, polar_P: Tensor) -> Tensor:
    """(A, S, 3) the paths as far as the head grows wider, then straight down, and over the shoulders."""
    centre = cap.hug_AS3.new_tensor(CENTRE_MM)
    flat = (cap.hug_AS3 - centre)[..., [0, 2]].norm(dim=2)
    upper = torch.arange(CAP_STEPS, device=flat.device) * STEP_MM < length_AP[:, [int((polar_P < _WIDEST_RAD).sum())]]
    widest, where = torch.where(upper, flat, flat.new_zeros(())).max(1)
    step = torch.arange(CAP_STEPS, device=flat.device)
    free = step > where[:, None]
    height = cap.hug_AS3[..., 1].gather(1, where[:, None]) - (step - where[:, None]) * STEP_MM
    height = torch.where(free, height, cap.hug_AS3[..., 1])
    reach = torch.maximum(widest[:, None], cap.torso(height) + 5)
    reach = torch.where(free, reach, flat)
    ring = torch.stack([cap.azimuth_A.sin(), cap.azimuth_A.cos()], 1)[:, None]
    across = reach[..., None] * ring
    return torch.stack([across[..., 0], height, across[..., 1] + centre[2]], 2)


def _measure_torso(points_N3: Tensor, azimuth_A: Tensor) -> Tensor:
    """(A, Y) mm: distance from the axis, from :data:`TORSO_TOP_MM` down."""
    below = points_N3[(points_N3[:, 1] < TORSO_TOP_MM + 20) & (points_N3[:, 1] > -330)]
    flat = below[:, [0, 2]] - below.new_tensor([CENTRE_MM[0], CENTRE_MM[2]])
    angle, far = torch.atan2(flat[:, 0], flat[:, 1]), flat.norm(dim=1)
    height = TORSO_TOP_MM - TORSO_STEP_MM * torch.arange(TORSO_STEPS, device=angle.device)
    turn = 30 * ((azimuth_A[:, None, None] - angle).cos() - 1)
    drop = -0.5 * ((height[:, None] - below[:, 1]) / 9).square()
    return (torch.softmax(turn + drop + far / 40, 2) * far).sum(2)
