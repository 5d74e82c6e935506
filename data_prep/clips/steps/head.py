"""Camera and morphable head of every clip of a segment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from data_prep.clips import measures
from data_prep.clips.clip import Clip
from data_prep.clips.steps.job import Tools, VideoJob, across_px, each
from data_prep.fit.fit import Fit, Observed, default_camera, expression_prior, fit_tracks
from data_prep.fit.lens import find_lens
from data_prep.head.landmarks import LANDMARK_COUNT
from data_prep.head.mouth import measure_mouth
from data_prep.machine.faults import not_the_videos

#: mediapipe's landmarks of the inner lips, right, middle and left.
UPPER_LIP, LOWER_LIP = (82, 13, 312), (87, 14, 317)


def fit_heads(clips: list[Clip], job: VideoJob) -> list[Clip]:
    """Fit each clip. The camera is one for the video; where it is not known yet, by the nearest face of these clips,
    and its lens by all of them where they are near.
    On a GPU the clips of a segment are fitted at once; if that breaks, each by itself, so that the one to blame fails
    alone."""
    if job.camera is None and clips:
        across = max(across_px(clip.landmarks_px_FN3) for clip in clips)
        job.camera = default_camera(job.video.width, job.video.height, across)
        seen = [_observed(clip, job) for clip in clips]
        job.camera = find_lens(seen, job.tools.model, job.tools.correspondence, job.camera)
    if len(clips) > 1 and at_once(job):
        try:
            fits = fit_tracks([_observed(clip, job) for clip in clips], job.tools.model, job.tools.correspondence)
        except Exception as error:  # of one of them, or together they are too many for the GPU's memory
            if isinstance(not_the_videos(error), OSError):
                raise
        else:
            for clip, fitted in zip(clips, fits, strict=True):
                clip.fit = fitted
    return _fit(clips, job)


def at_once(job: VideoJob) -> bool:
    """Whether clips are fitted together, which pays on a GPU."""
    return job.tools.model.device.type == "cuda"


@each
def _fit(clip: Clip, job: VideoJob) -> None:
    assert job.camera is not None
    if clip.fit is None:
        (clip.fit,) = fit_tracks([_observed(clip, job)], job.tools.model, job.tools.correspondence)
    clip.camera = replace(job.camera, f_px=clip.fit.focal_px)
    clip.scores |= measures.fit_scores(clip.fit)
    clip.scores["lip_opening_mm"] = lip_opening_mm(clip.fit, job.tools).astype(np.float32)


def lip_opening_mm(fitted: Fit, tools: Tools) -> np.ndarray:
    """(F,) how far the fitted mesh's inner lips are apart where that is widest; 0 or less where they are shut.

    On ICT-FaceKit it is the score that the studio's talking clips have, of the same vertices. Other models have no list
    of them: there it is taken at mediapipe's landmarks of the inner lips, which are a little off it.
    """
    if not tools.settings.face_model:
        mouth = measure_mouth(tools.model, fitted.identity_K.cpu().numpy())
        return mouth.opening_mm(fitted.expression_FE.cpu().numpy())
    vertices = tools.model.vertices(fitted.identity_K[None], fitted.expression_FE)
    height_FN = tools.correspondence.points(vertices)[..., 1]
    return (height_FN[:, UPPER_LIP] - height_FN[:, LOWER_LIP]).amax(1).cpu().numpy()


def _observed(clip: Clip, job: VideoJob) -> Observed:
    assert job.camera is not None
    prior = expression_prior(torch.from_numpy(clip.blendshapes_FB), clip.blendshape_names, job.tools.model)
    return Observed(torch.from_numpy(clip.landmarks_px_FN3[:, :LANDMARK_COUNT]), prior, job.camera)
