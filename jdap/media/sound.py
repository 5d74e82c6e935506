"""Reading any sound: mono, 16 kHz, in time, in blocks, so that memory does not grow with length.

Whatever FFmpeg decodes is sound: WAV, MP3, M4A, FLAC, Ogg, the track of a video; of any rate, number of channels and
sample format. Samples are placed by the file's own time stamps: what a coder puts in front is gone, silence fills what
the track lacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from jdap.units import SAMPLE_RATE

#: Samples of a block, one second.
BLOCK = SAMPLE_RATE
#: Time stamps that differ by less from the sum of the samples so far are jitter; larger ones are gaps.
JITTER_S = 0.04
#: As much is a container's rounding; more, after a packet that was lost, is that packet.
ROUNDING_S = 0.002
#: What is lost of a file that still is sound: packets of its first block, as a share. Text taken for MP3 loses half.
LOST = 0.2
#: Lengths are estimates in some files; an end that is sooner by more is told.
SHORT_S = 0.5
#: Stamps that go back further, or that leave a larger gap, are of another clock: sound goes on without a gap.
BACK_S, GAP_S = 1.0, 600.0


class SoundError(ValueError):
    """A file that cannot be read as sound; the message names it and what to do, on one line."""


@dataclass
class Faults:
    """What was put right while reading.

    * ``samples``: read so far, of all channels, at the file's rate
    * ``invalid``: NaN or infinite, replaced by 0
    * ``clipped``: beyond [-1, 1], cut off there
    * ``packets`` of the track so far; ``lost``: those that could not be decoded, there is silence in their place
    * ``short_s``: how much sooner the sound ended than the file says; 0 until it did
    """

    samples: int = 0
    invalid: int = 0
    clipped: int = 0
    packets: int = 0
    lost: int = 0
    short_s: float = 0.0

    def notes(self) -> list[str]:
        """A line for each kind of fault that was found."""
        return [
            *([f"{self.invalid} of {self.samples} samples are no numbers: silence instead"] if self.invalid else []),
            *([f"{self.clipped} of {self.samples} samples are over full scale: clipped"] if self.clipped else []),
            *([f"{self.lost} of {self.packets} packets are damaged: silence instead"] if self.lost else []),
            *([f"it ends {self.short_s:.1f} s sooner than the file says"] if self.short_s > SHORT_S else []),
        ]


@dataclass
class Sound:
    """A file with sound in it, as :func:`open_sound` found it.

    * ``path``: the file
    * ``duration_s``: length as the file says, where it does; only decoding tells the true one
    * ``faults``: of the last reading, as far as it came
    """

    path: Path
    duration_s: float | None
    faults: Faults = field(default_factory=Faults)

    def blocks(self) -> Iterator[np.ndarray]:
        """The sound from its beginning: (16000,) float32 in [-1, 1], mono 16 kHz; the last one may be shorter.

        Each call reads the file again. Raises :class:`SoundError` for one that is damaged or has no samples.
        """
        self.faults = faults = Faults()
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
            if not container.streams.audio:
                raise SoundError(f"{path}: no audio track; give a sound file or a video with sound")
            sound = Sound(path, _duration_s(container))
    except (av.error.FFmpegError, OSError) as error:
        raise SoundError(
            f"{path}: no sound that can be read ({error.strerror}); copy it again or convert it to WAV"
        ) from error
    next(sound.blocks())
    faults, sound.faults = sound.faults, Faults()
    if faults.lost > LOST * faults.packets:
        raise SoundError(f"{path}: damaged, or no sound: much of its beginning cannot be decoded; export it again")
    return sound


def open_container(path: Path) -> av.container.InputContainer:
    """PyAV's container of a local file. Raises ``av.error.FFmpegError``."""
    # A playlist must not make us fetch something; a file's name must not be taken for a protocol; tags in an old
    # encoding are nobody's error here.
    return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="ignore")


def place(container: av.container.InputContainer, origin_s: float, faults: Faults) -> Iterator[tuple[int, np.ndarray]]:
    """The first audio track from where the container stands: (place, (N,) float32 in [-1, 1], mono 16 kHz).

    ``place`` counts samples from ``origin_s`` on the file's clock, by its time stamps: pieces may leave gaps, overlap,
    go back, and begin before 0. Channels are averaged. Raises ``av.error.FFmpegError``.
    """
    coder: _Coder | None = None
    ends, cursor, lost = 0.0, 0, faults.lost  # of what went in, s; of what came out, samples
    for frame in _frames(container, faults):
        starts = ends if frame.time is None else frame.time - origin_s
        gap_s = JITTER_S if lost == faults.lost else ROUNDING_S
        lost = faults.lost
        if coder is None or abs(starts - ends) > gap_s or not coder.takes(frame):
            if coder is not None:
                yield cursor, coder.rest()
            coder, ends, cursor = _Coder(frame), starts, round(starts * SAMPLE_RATE)
        samples = coder.mono(frame, faults)
        ends += frame.samples / frame.sample_rate
        yield cursor, samples
        cursor += len(samples)
    if coder is not None:
        yield cursor, coder.rest()


class _Coder:
    """Frames of one form → mono at 16 kHz.

    Everything goes through packed floats: PyAV 18 crashes the interpreter where it makes an array of a planar frame of
    eight channels or more. Channels are averaged before the rate is changed: FFmpeg's own mix of two equal ones is 1.4
    times too loud, and samples that are no numbers must not reach its filter.
    """

    def __init__(self, frame: av.AudioFrame) -> None:
        self._form = self._of(frame)
        self._pack = av.AudioResampler(format="flt")
        self._change_rate = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)

    def takes(self, frame: av.AudioFrame) -> bool:
        """Whether the frame has the form of the first one."""
        return self._of(frame) == self._form

    def mono(self, frame: av.AudioFrame, faults: Faults) -> np.ndarray:
        """(N,) float32 in [-1, 1]: what can be said after this frame."""
        parts: list[av.AudioFrame] = []
        for packed in self._pack.resample(frame):
            samples = _in_range(_array(packed).reshape(packed.samples, -1), faults).mean(1)
            one = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
            one.sample_rate = packed.sample_rate
            parts += self._change_rate.resample(one)
        return self._joined(parts)

    def rest(self) -> np.ndarray:
        """(N,) what the filter still holds at the end."""
        return self._joined(self._change_rate.resample(None))

    @staticmethod
    def _joined(frames: list[av.AudioFrame]) -> np.ndarray:
        # the filter overshoots
        return np.concatenate([np.empty(0, np.float32), *map(_array, frames)]).clip(-1, 1)

    @staticmethod
    def _of(frame: av.AudioFrame) -> tuple[str, int, str]:
        return frame.format.name, frame.sample_rate, frame.layout.name


def _frames(container: av.container.InputContainer, faults: Faults) -> Iterator[av.AudioFrame]:
    """What the first audio track's packets hold; those that are damaged are counted, and passed over."""
    for packet in container.demux(container.streams.audio[0]):
        frames: list[av.AudioFrame] = []
        faults.packets += packet.size > 0  # the last one has nothing in it, and asks for what is left
        try:
            frames = packet.decode()  # type: ignore[assignment]
        except av.error.FFmpegError:  # each coder has its own
            faults.lost += 1
        yield from (frame for frame in frames if frame.samples)


def _in_range(samples: np.ndarray, faults: Faults) -> np.ndarray:
    """Every sample in [-1, 1], and those that were not counted."""
    faults.samples += samples.size
    if np.abs(samples).max() <= 1:  # not so where one is NaN
        return samples
    wrong, over = ~np.isfinite(samples), np.abs(samples) > 1  # infinity is both
    faults.invalid += int(wrong.sum())
    faults.clipped += int((over & ~wrong).sum())
    return np.where(wrong, 0, samples).clip(-1, 1)


def _array(frame: av.AudioFrame) -> np.ndarray:
    """(channels x N,) of a packed frame of floats; it lives as long as the frame does."""
    return np.frombuffer(memoryview(frame.planes[0]), np.float32, frame.samples * frame.layout.nb_channels)


def _fill(pieces: Iterator[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
    """One after the other from 0 on: silence in gaps, the earlier piece where two overlap."""
    cursor, shift = 0, 0
    for stamp, samples in pieces:
        jump_s = (stamp + shift - cursor) / SAMPLE_RATE
        if jump_s > GAP_S or jump_s < -BACK_S:
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
    stream = container.streams.audio[0]
    if stream.duration is not None and stream.time_base is not None:
        start = stream.start_time or 0
        return float((start + stream.duration) * stream.time_base) - _start_s(container)
    return None if container.duration is None else container.duration / av.time_base
