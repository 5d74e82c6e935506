"""The pose of a head, and where its mouth is in a picture.

A pose is (axis-angle in radians, translation in millimetres): ``x_cam = R diag(1, −1, −1) x_head + t``, so that
rotation 0 is an upright face that looks into the camera. Head axes: x to the subject's left, y up, z out of the face;
camera axes: x right, y down, z forward; both in millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from jdap.geometry import head_rotation

#: The mouth's centre in head space. The lips' outer outline of ICT-FaceKit's mean head has its centre at
#: (0, −34.2, 111.9), with the jaw open by 0.3 at (0, −39.1, 108.6): this is a mouth that speaks. People differ from it
#: by 3.4 mm in height and 3.3 mm in depth (one standard deviation).
MOUTH_MM = (0.0, -36.0, 110.0)
#: Of a circle that holds the mouth: the lips of the mean head are 51 mm wide.
MOUTH_RADIUS_MM = 25.0


def pose_of(arrays: Mapping[str, np.ndarray]) -> Tensor:
    """Poses (F, 6) float32 of a sample's F frames, by its ``arrays`` (:data:`jdap.shards.schema.ARRAYS`)."""
    return torch.from_numpy(np.concatenate([arrays["rotation"], arrays["translation_mm"]], 1))


def mouth_px(pose: Tensor, camera_px: Tensor) -> Tensor:
    """Centre (x, y) and radius of the mouth (..., 3) in pixels, of heads (..., 6) before cameras (..., 3).

    The pinhole projection of :data:`MOUTH_MM`; the radius is ``MOUTH_RADIUS_MM f / z``.
    """
    x, y, z = (head_rotation(pose[..., :3]) @ pose.new_tensor(MOUTH_MM) + pose[..., 3:]).unbind(-1)
    f_px, cx, cy = camera_px.unbind(-1)
    return torch.stack([cx + f_px * x / z, cy + f_px * y / z, MOUTH_RADIUS_MM * f_px / z], -1)


def mirror(pose: Tensor) -> Tensor:
    """The pose (..., 6) of the head's mirror image in the plane x = 0 of the camera.

    With M = diag(−1, 1, 1) it is M R M, whose axis-angle is (ω_x, −ω_y, −ω_z), and M t. Left and right of the head are
    exchanged with it.
    """
    return pose * pose.new_tensor([1.0, -1.0, -1.0, -1.0, 1.0, 1.0])
