"""The square window of each clip, and its cameras."""

from __future__ import annotations

import numpy as np

from data_prep.choices import REJECT
from data_prep.clips import measures
from data_prep.clips.clip import Clip
from data_prep.clips.steps.job import VideoJob, each
from data_prep.head.landmarks import LANDMARK_COUNT
from jdap.faces import crop
from jdap.units import FPS


@each
def choose_window(clip: Clip, job: VideoJob) -> None:
    """A window for the whole track; with ``--padding reject`` a clip whose window leaves the picture is turned down."""
    assert clip.camera is not None
    width, height = clip.video.width, clip.video.height
    clip.window_px_F3 = crop.head_windows(clip.landmarks_px_FN3[:, :LANDMARK_COUNT], width, height, FPS)
    clip.camera_px_F3 = crop.window_cameras(clip.camera, clip.window_px_F3, job.tools.settings.size)
    padded = crop.padded_share(clip.window_px_F3, width, height)
    clip.scores["padded"] = padded.astype(np.float32)
    clip.scores["crowded"] = measures.crowded(clip.window_px_F3, clip.beside)
    if job.tools.settings.padding == REJECT and padded.max() > 1e-3:
        clip.reject(f"padded: {padded.max():.1%} of a crop lies outside of the picture (--padding reject)")
