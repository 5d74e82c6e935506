"""Where the fit of the morphable head starts, and how it weighs landmarks there.

Shapes: M frames of all tracks, N landmarks, E expressions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_prep.fit.equations import FitState
from data_prep.fit.points import HeadPoints


def start(
    landmarks_px_MN3: Tensor, prior_ME: Tensor, camera_px_M3: Tensor, head: HeadPoints, mean_MN3: Tensor, tracks: int
) -> FitState:
    """No identity but ``mean_MN3``'s, expressions at their prior, and the pose that mediapipe's landmarks suggest.

    Their z is roughly in the scale of x and y, as under weak perspective: a similarity (Umeyama 1991) from the head's
    points to the landmarks gives rotation, scale and place in the picture.
    """
    modes = head.modes
    shape = head.basis_N3C[..., modes:].flatten(0, 1) @ prior_ME.T
    points = mean_MN3 + shape.T.unflatten(1, (-1, 3))
    a = points - points.mean(1, keepdim=True)
    b = landmarks_px_MN3 - landmarks_px_MN3.mean(1, keepdim=True)
    u, d, vh = torch.linalg.svd(b.transpose(1, 2) @ a)
    sign = torch.ones_like(d)
    sign[:, 2] = torch.linalg.det(u @ vh).sign()
    rotation = u @ torch.diag_embed(sign) @ vh
    scale = (d * sign).sum(1) / a.square().sum((1, 2))
    place = landmarks_px_MN3.mean(1) - scale[:, None] * (rotation @ points.mean(1)[..., None])[..., 0]
    depth = camera_px_M3[:, 0] / scale
    translation = torch.cat([(place[:, :2] - camera_px_M3[:, 1:]) / scale[:, None], depth[:, None]], 1)
    return FitState(points.new_zeros(tracks, modes), points.new_zeros(tracks), prior_ME, rotation, translation)


def whiten(
    state: FitState,
    head: HeadPoints,
    camera_px_M3: Tensor,
    own_px_MN: Tensor,
    slide_mm: tuple[float, float],
) -> Tensor:
    """(M, N, 2, 2): the inverse square root of each landmark's covariance, 1 / px.

    A landmark's own error ``own_px_MN`` is round. One of the face oval may also lie elsewhere on the head: by a
    tangent's image g (pixels a millimetre) and a standard deviation s of ``slide_mm`` (along the contour, across it)
    that adds s^2 g g'. Across the contour g vanishes where the surface turns away, so only there does the landmark hold
    the head.
    """
    own = own_px_MN.square()[..., None, None] * torch.eye(2, device=own_px_MN.device)
    slides = head.tangents_N23 * head.tangents_N23.new_tensor(slide_mm)[:, None]
    turned = slides @ state.rotation_M33[:, None].transpose(-1, -2)
    image = turned[..., :2] * (camera_px_M3[:, 0] / state.translation_mm_M3[:, 2])[:, None, None, None]
    covariance = own + image.transpose(-1, -2) @ image
    # Square root of a positive 2 x 2 matrix C: (C + sqrt(det) I) / sqrt(trace + 2 sqrt(det)).
    root = torch.linalg.det(covariance).sqrt()[..., None, None]
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    return torch.linalg.inv((covariance + root * torch.eye(2, device=root.device)) / (trace + 2 * root).sqrt())
