"""Sound in time with each clip's first frame."""

from __future__ import annotations

import numpy as np

from data_prep.clips import measures
from data_prep.clips.clip import Clip
from data_prep.clips.steps.job import Job, each
from data_prep.video.audio import read_audio
from jdap.units import FPS


@each
def read_sound(clip: Clip, job: Job) -> None:
    """The clip's sound, and whether somebody speaks; a clip without an audio track stays, and says so."""
    clip.audio = read_audio(clip.video.path, clip.video.start_s + clip.start / FPS, clip.frames / FPS)
    clip.scores["audio"] = np.full(clip.frames, clip.audio is not None, np.float32)
    clip.scores["voice"] = clip.scores["speech"] = np.zeros(clip.frames, np.float32)
    if clip.audio is not None:
        clip.scores["voice"] = measures.voice(clip.audio, clip.frames)
        clip.scores["speech"] = measures.speech(clip.scores["voice"], clip.scores["lip_opening_mm"])
