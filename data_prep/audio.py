"""Sound of a video: mono, 16 kHz, in time with the pictures.

Samples are placed by the file's own time stamps, on the clock of the pictures: what is heard with the first frame comes
first, silence fills what the track lacks.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from data_prep.video import VideoError
from jdap.schema import SAMPLE_RATE

#: Time stamps that differ by less from the sum of the samples so far are jitter; larger ones are gaps.
JITTER_S = 0.04
#: Decoding starts this much before the wanted time: coders need a run-up.
RUN_UP_S = 1.0


def read_audio(path: Path, start_s: float, seconds: float) -> np.ndarray | None:
    """(seconds x 16000,) float32 in [-1, 1] from ``start_s`` on the file's own clock; None where there is no audio
    track.

    Channels are averaged. Raises :class:`data_prep.video.VideoError` for a track that cannot be decoded.
    """
    wanted = round(seconds * SAMPLE_RATE)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return None
            if start_s > RUN_UP_S:
                container.seek(int((start_s - RUN_UP_S) * av.time_base), backward=True)
            sound, first_s = _decode(container, start_s, wanted)
        if start_s > RUN_UP_S and first_s > start_s:  # a container that cannot seek there: read it all
            with av.open(str(path)) as container:
                sound, _ = _decode(container, start_s, wanted)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: the audio track cannot be decoded ({error.strerror}); encode it again") from error
    return sound


def _decode(container: av.container.InputContainer, start_s: float, wanted: int) -> tuple[np.ndarray, float]:
    """The wanted samples, and when (s) the first decoded one sounds (infinite if there is none)."""
    # Channels are averaged here: the resampler's own mix of two equal ones is 1.4 times too loud, and clips.
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
    out = np.zeros(wanted, np.float32)
    first_s, cursor = float("inf"), 0
    for frame in container.decode(audio=0):
        if frame.time is not None:
            place = round((frame.time - start_s) * SAMPLE_RATE)
            if first_s == float("inf") or abs(place - cursor) > JITTER_S * SAMPLE_RATE:
                cursor = place
            first_s = min(first_s, frame.time)
        for resampled in resampler.resample(frame):
            cursor = _put(out, resampled.to_ndarray().mean(0), cursor)
        if cursor >= wanted:
            break
    else:
        for resampled in resampler.resample(None):
            cursor = _put(out, resampled.to_ndarray().mean(0), cursor)
    return out.clip(-1, 1), first_s


def _put(out: np.ndarray, samples: np.ndarray, place: int) -> int:
    """Lay samples into ``out`` from index ``place`` (which may be negative); returns where they end."""
    low, high = max(place, 0), min(place + len(samples), len(out))
    if low < high:
        out[low:high] = samples[low - place : high - place]
    return place + len(samples)
