"""Camera and morphable head of every clip of a segment."""

from __future__ import annotations

import numpy as np
import torch

from data_prep import measures
from data_prep.clip import Clip
from data_prep.correspondence import LANDMARKS
from data_prep.fit import CHEEKS, default_camera, expression_prior, fit
from data_prep.speech.lips import measure_mouth
from data_prep.stages.job import Job, each


def fit_heads(clips: list[Clip], job: Job) -> list[Clip]:
    """Fit each clip; the camera is one for the video, by the nearest face of its first clips."""
    if job.camera is None and clips:
        across = max(_face_px(clip) for clip in clips)
        job.camera = default_camera(job.video.width, job.video.height, across)
    return _fit(clips, job)


@each
def _fit(clip: Clip, job: Job) -> None:
    assert job.camera is not None
    model, points = job.tools.model, clip.landmarks_px_FN3[:, :LANDMARKS]
    clip.camera = job.camera
    prior = expression_prior(torch.from_numpy(clip.blendshapes_FB), clip.blendshape_names, model)
    clip.fit = fit(torch.from_numpy(points), prior, clip.camera, model, job.tools.correspondence)
    mouth = measure_mouth(model, clip.fit.identity_K.cpu().numpy())
    opening_mm = mouth.opening_mm(clip.fit.expression_FE.cpu().numpy())
    clip.scores |= measures.fit_scores(clip.fit) | {"lip_opening_mm": opening_mm.astype(np.float32)}


def _face_px(clip: Clip) -> float:
    points = clip.landmarks_px_FN3
    return float(np.quantile(np.linalg.norm(points[:, CHEEKS[0], :2] - points[:, CHEEKS[1], :2], axis=-1), 0.95))
