"""Sound in time with each clip's first frame."""

from __future__ import annotations

import numpy as np

from data_prep.clips import heard
from data_prep.clips.clip import Clip
from data_prep.clips.steps.job import VideoJob, each
from data_prep.video.audio import lost_ticks, read_audio
from jdap.media.sound import SoundFaults
from jdap.units import FPS


@each
def read_sound(clip: Clip, job: VideoJob) -> None:
    """The clip's sound, and whether somebody speaks; a clip without an audio track stays, and says so."""
    faults = SoundFaults()
    clip.audio = read_audio(clip.video.path, float(clip.video.ticks_s[clip.start]), clip.frames / FPS, faults)
    clip.scores["audio"] = np.full(clip.frames, clip.audio is not None, np.float32)
    clip.scores["voice"] = clip.scores["speech"] = np.zeros(clip.frames, np.float32)
    if clip.audio is not None:
        clip.scores["audio_lost"] = lost_ticks(faults, clip.frames, FPS)
        clip.scores["audio_cancelled"] = np.full(clip.frames, faults.cancelled / max(faults.mixed, 1), np.float32)
        clip.scores["voice"] = job.tools.hear(clip.audio, clip.frames)
        clip.scores["speech"] = heard.speech(clip.scores["voice"], clip.scores["lip_opening_mm"])
        clip.scores["loudness_lufs"] = heard.loudness(clip.audio, clip.frames)
        if (ratio := heard.snr_db(clip.audio, clip.scores["voice"])) is not None:
            clip.numbers["snr_db"] = ratio
