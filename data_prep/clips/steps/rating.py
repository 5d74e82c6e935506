"""Scores that need nothing but what earlier steps have found, and the early end of what would be held anyway."""

from __future__ import annotations

from data_prep.clips import measures
from data_prep.clips.clip import Clip
from data_prep.clips.covers import covered
from data_prep.clips.quality import clip_scores, why_not
from data_prep.clips.steps.job import VideoJob, each


@each
def rate(clip: Clip, job: VideoJob) -> None:
    """Eyes, motion and what covers the face; without ``hold`` a clip that fails a threshold is turned down here."""
    clip.scores["eyes_open"] = measures.eyes_open(clip.blendshapes_FB, clip.blendshape_names)
    clip.scores["motion"] = measures.motion(clip.landmarks_px_FN3)
    clip.scores["occluded"] = measures.occluded(clip.skin_FN3)
    clip.scores["covered"] = covered(clip.look_FSS, clip.landmarks_px_FN3, clip.scores["found"] > 0)
    settings = job.tools.settings
    reason = "" if settings.hold else why_not(clip_scores(clip.scores), settings.thresholds)
    if reason:
        clip.reject(reason)
