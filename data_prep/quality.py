"""Scores of every frame, and the thresholds that are applied to them at the end.

=============  =====================================================================================================
score          meaning, for each frame
=============  =====================================================================================================
found          1 where a face was found, 0 where a short gap was filled
several        1 where another large face is in the picture
face_px        width of the face, cheek to cheek, in pixels of the source (not of the stored frame)
sharpness      variance of the Laplacian of the face, resampled to 128 pixels, grey in 0 … 255; low = blurred
brightness     mean grey of the face, 0 … 1
yaw_deg        turn of the head: + looks to the picture's left
pitch_deg      nod: + looks down
roll_deg       tilt in the picture: + is clockwise
fit_error      median reprojection error of the landmarks, as a share of the face's width
fit_error_p95  95 % quantile of the same
padded         share of the crop that lies outside of the source picture
audio          1 where the clip has an audio track
=============  =====================================================================================================

Shapes: F frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import laplace

from data_prep.fit import Fit
from jdap.geometry import axis_angle_to_matrix

FACE_GRID = 128


@dataclass(frozen=True)
class Threshold:
    """A clip is turned down when the mean of ``score`` is under ``least`` or over ``most``."""

    score: str
    least: float = -np.inf
    most: float = np.inf


#: In the order in which they are looked at; the first that fails is the reason.
THRESHOLDS = (
    Threshold("several", most=0.05),
    Threshold("found", least=0.8),
    Threshold("face_px", least=64),
    Threshold("brightness", least=0.08, most=0.95),
    Threshold("sharpness", least=10),
    Threshold("fit_error", most=0.02),
    Threshold("padded", most=0.3),
)


def judge(scores: dict[str, np.ndarray]) -> str:
    """Why a clip is turned down, naming score and value, or an empty string. Missing scores are not judged."""
    for threshold in THRESHOLDS:
        values = scores.get(threshold.score)
        if values is None or not len(values):
            continue
        mean = float(np.nanmean(values))
        if threshold.score == "several" and mean > threshold.most:
            return f"several faces in {mean:.0%} of the frames (most {threshold.most:.0%})"
        if not mean >= threshold.least:
            return f"{threshold.score} {mean:.3g} is under {threshold.least:g}"
        if not mean <= threshold.most:
            return f"{threshold.score} {mean:.3g} is over {threshold.most:g}"
    return ""


def appearance(frame: np.ndarray, landmarks_px: np.ndarray) -> tuple[float, float]:
    """(sharpness, brightness) of a face with landmarks (N, 2 or 3) in a frame (H, W, 3) uint8; NaN outside of it."""
    height, width = frame.shape[:2]
    low = landmarks_px[:, :2].min(0).clip(0)
    high = np.minimum(landmarks_px[:, :2].max(0), [width, height])
    if not (high - low >= 2).all():
        return float("nan"), float("nan")
    left, top, right, bottom = (int(x) for x in (*low, *high))
    face = Image.fromarray(frame[top:bottom, left:right]).convert("L").resize((FACE_GRID, FACE_GRID))
    grey = np.asarray(face, np.float32)
    return float(laplace(grey).var()), float(grey.mean() / 255)


def head_angles_deg(rotation_F3: torch.Tensor) -> np.ndarray:
    """(F, 3) yaw, pitch, roll in degrees of head-to-camera rotations (axis-angle), for R = Rz(roll) Ry(yaw) Rx(pitch).

    Camera axes are x right, y down, z forward: a positive yaw looks to the picture's left, a positive pitch down, and a
    positive roll is clockwise in the picture.
    """
    r = axis_angle_to_matrix(rotation_F3.double()).cpu()
    yaw = torch.asin((-r[:, 2, 0]).clamp(-1, 1))
    pitch = torch.atan2(r[:, 2, 1], r[:, 2, 2])
    roll = torch.atan2(r[:, 1, 0], r[:, 0, 0])
    return torch.rad2deg(torch.stack([yaw, pitch, roll], -1)).numpy()


def fit_scores(fit: Fit) -> dict[str, np.ndarray]:
    """The scores that follow from a fit."""
    angles = head_angles_deg(fit.rotation_F3)
    error = fit.error_FN.cpu()
    scores = {
        "face_px": fit.width_px_F.cpu().numpy(),
        "yaw_deg": angles[:, 0],
        "pitch_deg": angles[:, 1],
        "roll_deg": angles[:, 2],
        "fit_error": error.median(1).values.numpy(),
        "fit_error_p95": error.quantile(0.95, dim=1).numpy(),
    }
    return {name: values.astype(np.float32) for name, values in scores.items()}
