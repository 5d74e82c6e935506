"""Sound of a video: mono, 16 kHz, in time with the pictures.

Samples are placed by the file's own time stamps (:mod:`jdap.media.sound`), on the clock of the pictures: what is heard
with the first frame comes first, silence fills what the track lacks.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from data_prep.video.video import VideoError
from jdap.media.sound import Faults, open_container, place
from jdap.units import SAMPLE_RATE

#: Decoding starts this much before the wanted time: coders need a run-up.
RUN_UP_S = 1.0


def read_audio(path: Path, start_s: float, seconds: float) -> np.ndarray | None:
    """(seconds x 16000,) float32 in [-1, 1] from ``start_s`` on the file's own clock; None where there is no audio
    track.

    Channels are averaged. Raises :class:`data_prep.video.video.VideoError` for a track that cannot be decoded.
    """
    wanted = round(seconds * SAMPLE_RATE)
    seek = start_s > RUN_UP_S
    try:
        with open_container(path) as container:
            if not container.streams.audio:
                return None
            if seek:
                container.seek(int((start_s - RUN_UP_S) * av.time_base), backward=True)
            sound, first = _read(path, container, start_s, wanted, amid=seek)
        if seek and first > 0:  # a container that cannot seek there: read it all
            with open_container(path) as container:
                sound, _ = _read(path, container, start_s, wanted)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: the audio track cannot be decoded ({error.strerror}); encode it again") from error
    return sound


def _read(
    path: Path, container: av.container.InputContainer, start_s: float, wanted: int, amid: bool = False
) -> tuple[np.ndarray, float]:
    """The wanted samples, and the place of the first decoded one (infinite if there is none).

    ``amid``: reading begins in the middle, where a container may give the rest of a packet first.
    """
    out, first, faults = np.zeros(wanted, np.float32), float("inf"), Faults()
    for at, samples in place(container, start_s, faults):
        if amid:
            faults.lost, amid = 0, False
        first = min(first, at)
        low, high = max(at, 0), min(at + len(samples), wanted)
        if low < high:
            out[low:high] = samples[low - at : high - at]
        if at + len(samples) >= wanted:
            break
    if faults.lost:
        raise VideoError(f"{path}: {faults.lost} packets of the audio track are damaged; encode it again")
    return out, first
