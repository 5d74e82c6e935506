"""Cameras, unprojection and normals.

Camera axes: x right, y down, z forward, millimetres. Pixel (u, v) covers [u, u + 1) x [v, v + 1): its centre is at
(u + 0.5, v + 0.5), in the stored picture. A camera is (f, cx, cy) in pixels of that picture; pixels are square.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: Head axes (x to the subject's left, y up, z out of the face) to camera axes of a viewer in front.
HEAD_TO_VIEWER = (1.0, -1.0, -1.0)


@dataclass(frozen=True)
class PinholeCamera:
    """A pinhole camera: focal length and principal point in pixels of a picture of ``width`` x ``height`` pixels."""

    f_px: float
    cx_px: float
    cy_px: float
    width: int
    height: int

    def __post_init__(self) -> None:
        if not (self.f_px > 0 and self.width > 0 and self.height > 0):
            raise ValueError(f"a camera needs a positive focal length and size, got {self}")

    def crop(self, left_px: float, top_px: float, size_px: float, out_size: int) -> PinholeCamera:
        """The camera of the square [left, left + size) x [top, top + size), resampled to ``out_size`` pixels.

        The square may reach outside of the picture.
        """
        scale = out_size / size_px
        return PinholeCamera(
            self.f_px * scale,
            (self.cx_px - left_px) * scale,
            (self.cy_px - top_px) * scale,
            out_size,
            out_size,
        )

    def as_tensor(self) -> Tensor:
        """(f, cx, cy) float32, as batches and shards hold it."""
        return torch.tensor([self.f_px, self.cx_px, self.cy_px])


def project(points_mm: Tensor, camera_px: Tensor) -> Tensor:
    """Camera-space points (B, N, 3) in millimetres → pixels (B, N, 2), by cameras (B, 3) = (f, cx, cy)."""
    f_px, centre_px = camera_px[:, None, :1], camera_px[:, None, 1:]
    return points_mm[..., :2] / points_mm[..., 2:] * f_px + centre_px


def unproject(depth_mm: Tensor, camera_px: Tensor) -> Tensor:
    """z-depth (B, 1, H, W) in millimetres → camera-space points (B, 3, H, W); (0, 0, 0) where there is no depth."""
    _, _, h, w = depth_mm.shape
    v, u = torch.meshgrid(
        torch.arange(h, device=depth_mm.device) + 0.5,
        torch.arange(w, device=depth_mm.device) + 0.5,
        indexing="ij",
    )
    f_px, cx, cy = camera_px.to(depth_mm).T[..., None, None]
    rays = torch.stack([(u - cx) / f_px, (v - cy) / f_px, torch.ones_like(depth_mm[:, 0])], dim=1)
    return rays * depth_mm


def normals_from_depth(depth_mm: Tensor, camera_px: Tensor) -> Tensor:
    """Unit normals (B, 3, H, W) that face the camera, by central differences of the unprojected points.

    (0, 0, 0) where a pixel or one of its four neighbours has no depth.
    """
    points = F.pad(unproject(depth_mm, camera_px), (1, 1, 1, 1))
    across = points[:, :, 1:-1, 2:] - points[:, :, 1:-1, :-2]
    down = points[:, :, 2:, 1:-1] - points[:, :, :-2, 1:-1]
    # y points down and z forward, so down x across points back at the camera.
    normals = F.normalize(torch.linalg.cross(down, across, dim=1), dim=1)
    has = F.pad(depth_mm > 0, (1, 1, 1, 1))
    whole = (
        has[:, :, 1:-1, 1:-1] & has[:, :, 1:-1, 2:] & has[:, :, 1:-1, :-2] & has[:, :, 2:, 1:-1] & has[:, :, :-2, 1:-1]
    )
    return normals * whole


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rotation vectors (..., 3) in radians → rotation matrices (..., 3, 3), by the matrix exponential of so(3)."""
    x, y, z = axis_angle.unbind(-1)
    o = torch.zeros_like(x)
    skew = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*axis_angle.shape, 3)
    return torch.linalg.matrix_exp(skew)


def head_rotation(rotation: Tensor) -> Tensor:
    """Head axes to camera axes (..., 3, 3), by rotations (..., 3) as shards and fits hold them: axis-angle in radians,
    0 is an upright face that looks into the camera. R diag(1, −1, −1), with :data:`HEAD_TO_VIEWER`."""
    return axis_angle_to_matrix(rotation) * rotation.new_tensor(HEAD_TO_VIEWER)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) → rotation vectors (..., 3) in radians, angles under pi."""
    skew = torch.stack(
        [
            matrix[..., 2, 1] - matrix[..., 1, 2],
            matrix[..., 0, 2] - matrix[..., 2, 0],
            matrix[..., 1, 0] - matrix[..., 0, 1],
        ],
        -1,
    )
    sine = skew.norm(dim=-1) / 2
    cosine = (matrix.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    angle = torch.atan2(sine, cosine)
    # angle / (2 sin) tends to 1/2 for small angles.
    factor = torch.where(sine > 1e-7, angle / (2 * sine).clamp_min(1e-12), torch.full_like(angle, 0.5))
    return skew * factor[..., None]


def head_axis_angle(rotation_33: Tensor) -> Tensor:
    """The inverse of :func:`head_rotation`: rotation vectors (..., 3) in radians, angles under pi, of (..., 3, 3)."""
    return matrix_to_axis_angle(rotation_33 * rotation_33.new_tensor(HEAD_TO_VIEWER))


def head_angles_deg(rotation: Tensor) -> Tensor:
    """Yaw, pitch, roll (..., 3) float64 in degrees of head-to-camera rotations (..., 3), axis-angle in radians, for
    R = Rz(roll) Ry(yaw) Rx(pitch).

    Camera axes are x right, y down, z forward: a positive yaw looks to the picture's left, a positive pitch down, and a
    positive roll is clockwise in the picture.
    """
    r = axis_angle_to_matrix(rotation.double())
    yaw = torch.asin((-r[..., 2, 0]).clamp(-1, 1))
    pitch = torch.atan2(r[..., 2, 1], r[..., 2, 2])
    roll = torch.atan2(r[..., 1, 0], r[..., 0, 0])
    return torch.rad2deg(torch.stack([yaw, pitch, roll], -1))


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit vertex normals (B, V, 3) of meshes (B, V, 3) that share ``faces`` (T, 3) int64.

    A face (a, b, c) is counter-clockwise seen from outside, in the mesh's own right-handed axes.
    """
    a, b, c = (vertices[:, faces[:, i]] for i in range(3))
    face_normals = torch.linalg.cross(b - a, c - a, dim=-1)
    normals = torch.zeros_like(vertices)
    for i in range(3):
        normals.index_add_(1, faces[:, i], face_normals)
    return F.normalize(normals, dim=-1)
