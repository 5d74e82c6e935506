"""Reading any sound: mono, 16 kHz, in time, in blocks, so that memory does not grow with length.

Whatever FFmpeg decodes is sound: WAV, MP3, M4A, FLAC, Ogg, the track of a video; of any rate, number of channels and
sample format. Samples are placed by the file's own time stamps: what a coder puts in front is gone, silence fills what
the track lacks. Of several tracks the default one is taken (:mod:`jdap.media`); several channels become one as loud as
a player makes them (:mod:`jdap.media.channels`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from jdap.media.containers import channel_names, open_container, sound_track
from jdap.media.sound_frames import ROUNDING_S, Coder, SoundFaults, frames_of
from jdap.units import SAMPLE_RATE

#: Samples of a block, one second.
BLOCK = SAMPLE_RATE
#: Time stamps that differ by less from the sum of the samples so far are jitter; larger ones are gaps.
JITTER_S = 0.04
#: What is lost of a file that still is sound: packets of its first block, as a share. Text taken for MP3 loses half.
LOST = 0.2
#: Stamps that go back further, or that leave a larger gap, are of another clock: sound goes on without a gap.
BACK_S, LARGEST_GAP_S = 1.0, 600.0


class SoundError(ValueError):
    """A file that cannot be read as sound; the message names it and what to do, on one line."""


@dataclass
class Sound:
    """A file with sound in it, as :func:`open_sound` found it.

    * ``path``: the file
    * ``duration_s``: length as the file says, where it does; only decoding tells the true one
    * ``faults``: of the last reading, as far as it came
    """

    path: Path
    duration_s: float | None
    faults: SoundFaults = field(default_factory=SoundFaults)

    def blocks(self) -> Iterator[np.ndarray]:
        """The sound from its beginning: (16000,) float32 in [-1, 1], mono 16 kHz; the last one may be shorter.

        Each call reads the file again. Raises :class:`SoundError` for one that is damaged or has no samples.
        """
        self.faults = faults = SoundFaults()
        try:
            with open_container(self.path) as container:
                # The pictures of a video, or what a coder puts in front of a sound, may lie before its first sample.
                pieces, read = place(container, _start_s(container), faults), 0
                for block in _regroup(_fill(pieces)):
                    read += len(block)
                    yield block
        except (av.error.FFmpegError, OSError) as error:
            raise SoundError(
                f"{self.path}: damaged, its sound cannot be decoded ({error.strerror}); export it again"
            ) from error
        if not read:
            reason = (
                "damaged, or no sound: none of it can be decoded" if faults.lost else "its sound is zero samples long"
            )
            raise SoundError(f"{self.path}: {reason}; record or export it again")
        faults.short_s = max(0.0, (self.duration_s or 0.0) - read / SAMPLE_RATE)


def open_sound(path: str | Path) -> Sound:
    """Probe a file and decode its beginning, so that what is no sound fails here.

    Raises :class:`SoundError` for a file that is missing, empty, a folder, of no known kind, or without sound.
    """
    path = Path(path)
    if path.is_dir():
        raise SoundError(f"{path}: a folder; give a sound file or a video")
    if not path.is_file():
        raise SoundError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise SoundError(f"{path}: the file is empty; copy or download it again")
    try:
        with open_container(path) as container:
            if sound_track(container) is None:
                raise SoundError(f"{path}: no audio track; give a sound file or a video with sound")
            sound = Sound(path, _duration_s(container))
    except (av.error.FFmpegError, OSError) as error:
        raise SoundError(
            f"{path}: no sound that can be read ({error.strerror}); copy it again or convert it to WAV"
        ) from error
    next(sound.blocks())
    faults, sound.faults = sound.faults, SoundFaults()
    if faults.lost > LOST * faults.packets:
        raise SoundError(f"{path}: damaged, or no sound: much of its beginning cannot be decoded; export it again")
    return sound


def first_seconds(blocks: Iterator[np.ndarray], seconds: float | None) -> Iterator[np.ndarray]:
    """Blocks of sound (S,) at 16 kHz up to so many seconds; None: all of them."""
    left = None if seconds is None else max(1, round(seconds * SAMPLE_RATE))
    for block in blocks:
        if left is None:
            yield block
        elif left <= 0:
            return
        else:
            yield block[:left]
            left -= len(block)


def place(
    container: av.container.InputContainer, origin_s: float, faults: SoundFaults
) -> Iterator[tuple[int, np.ndarray]]:
    """The sound track from where the container stands: (place, (N,) float32 in [-1, 1], mono 16 kHz).

    ``place`` counts samples from ``origin_s`` on the file's clock, by its time stamps: pieces may leave gaps, overlap,
    go back, and begin before 0. Raises ``av.error.FFmpegError``, or OSError for a track that is not known here.
    """
    track = sound_track(container)
    if track is None:
        return
    names = channel_names(track)
    coder: Coder | None = None
    ends, cursor, lost = 0.0, 0, faults.lost  # of what went in, s; of what came out, samples
    for frame in frames_of(container, track, origin_s, faults):
        starts = ends if frame.time is None else frame.time - origin_s
        gap_s = JITTER_S if lost == faults.lost else ROUNDING_S
        lost = faults.lost
        if coder is None or abs(starts - ends) > gap_s or not coder.takes(frame):
            if coder is not None:
                yield cursor, coder.rest()
            coder, ends, cursor = Coder(frame, names), starts, round(starts * SAMPLE_RATE)
        samples = coder.mono(frame, faults)
        ends += frame.samples / frame.sample_rate
        yield cursor, samples
        cursor += len(samples)
    if coder is not None:
        yield cursor, coder.rest()


def _fill(pieces: Iterator[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
    """One after the other from 0 on: silence in gaps, the earlier piece where two overlap."""
    cursor, shift = 0, 0
    for stamp, samples in pieces:
        jump_s = (stamp + shift - cursor) / SAMPLE_RATE
        if jump_s > LARGEST_GAP_S or jump_s < -BACK_S:
            shift = cursor - stamp
        at = stamp + shift
        while cursor < at:
            silence = np.zeros(min(at - cursor, BLOCK), np.float32)
            yield silence
            cursor += len(silence)
        fresh = samples[cursor - at :]
        yield fresh
        cursor += len(fresh)


def _regroup(parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same samples in blocks of :data:`BLOCK`."""
    block, filled = np.empty(BLOCK, np.float32), 0
    for part in parts:
        while len(part):
            taken = min(len(part), BLOCK - filled)
            block[filled : filled + taken] = part[:taken]
            part, filled = part[taken:], filled + taken
            if filled == BLOCK:
                yield block
                block, filled = np.empty(BLOCK, np.float32), 0
    if filled:
        yield block[:filled]


def _start_s(container: av.container.InputContainer) -> float:
    """When the file begins on its own clock: its earliest track."""
    return 0.0 if container.start_time is None else container.start_time / av.time_base


def _duration_s(container: av.container.InputContainer) -> float | None:
    stream = sound_track(container)
    if stream is not None and stream.duration is not None and stream.time_base is not None:
        start = stream.start_time or 0
        return float((start + stream.duration) * stream.time_base) - _start_s(container)
    return None if container.duration is None else container.duration / av.time_base
