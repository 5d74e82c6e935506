"""Sound of a video: mono, 16 kHz, in time with the pictures.

Samples are placed by the file's own time stamps (:mod:`jdap.media.sound`), on the clock of the pictures: what is heard
with the first frame comes first, silence fills what the track lacks.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from data_prep.video.error import UnreadableVideo
from jdap.media.containers import open_container, sound_track
from jdap.media.sound import SoundFaults, place
from jdap.units import SAMPLE_RATE

#: Decoding starts this much before the wanted time: coders need a run-up.
RUN_UP_S = 1.0


def read_audio(path: Path, start_s: float, seconds: float, faults: SoundFaults | None = None) -> np.ndarray | None:
    """(seconds x 16000,) float32 in [-1, 1] from ``start_s`` on the file's own clock; None where there is no audio
    track.

    A packet that is damaged is silence, and so is a time at which the track has nothing; ``faults`` is told of the one,
    of the other where there is nothing at all, and of what else was put right. Raises
    :class:`data_prep.video.video.UnreadableVideo` for a track that cannot be decoded at all.
    """
    wanted = round(seconds * SAMPLE_RATE)
    seek = start_s > RUN_UP_S
    faults = SoundFaults() if faults is None else faults
    try:
        with open_container(path) as container:
            if sound_track(container) is None:
                return None
            if seek:
                container.seek(int((start_s - RUN_UP_S) * av.time_base), backward=True)
            sound, first, heard = _read(container, start_s, wanted, faults, amid=seek)
        if seek and first > 0:  # a container that cannot seek there: read it all
            vars(faults).update(vars(SoundFaults()))
            with open_container(path) as container:
                sound, _, heard = _read(container, start_s, wanted, faults)
    except (av.error.FFmpegError, OSError) as error:
        raise UnreadableVideo(
            f"{path}: the audio track cannot be decoded ({error.strerror}); encode it again"
        ) from error
    if not heard:
        faults.lost_s.append((0.0, seconds))
    return sound


def lost_ticks(faults: SoundFaults, frames: int, fps: float) -> np.ndarray:
    """(F,) float32: 1 for each frame of which some sound was lost, by the seconds in ``faults``."""
    lost = np.zeros(frames, np.float32)
    for starts, ends in faults.lost_s:
        lost[max(0, int(starts * fps)) : max(0, int(np.ceil(ends * fps)))] = 1
    return lost


def _read(
    container: av.container.InputContainer, start_s: float, wanted: int, faults: SoundFaults, amid: bool = False
) -> tuple[np.ndarray, float, bool]:
    """The wanted samples, the place of the first decoded one (infinite if there is none), and whether any is wanted.

    ``amid``: reading begins in the middle, where a container may give the rest of a packet first.
    """
    out, first, heard = np.zeros(wanted, np.float32), float("inf"), False
    pieces = place(container, start_s, faults)
    while True:
        try:
            at, samples = next(pieces)
        except StopIteration:
            break
        except av.error.FFmpegError:
            if first == float("inf"):
                raise
            break  # the file breaks off: the rest is silence, as where a track ends sooner
        if amid:
            faults.lost, amid = 0, False
            faults.lost_s.clear()
        first = min(first, at)
        low, high = max(at, 0), min(at + len(samples), wanted)
        if low < high:
            heard = True
            out[low:high] = samples[low - at : high - at]
        if at + len(samples) >= wanted:
            break
    return out, first, heard
