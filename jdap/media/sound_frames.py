"""The packets of a sound track as mono pieces at 16 kHz, and what was put right on the way.

Shapes: N samples, C channels.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
import numpy as np

from jdap.media import channels
from jdap.media.containers import own_order
from jdap.units import SAMPLE_RATE

#: As much is a container's rounding; more, after a packet that was lost, is that packet.
ROUNDING_S = 0.002
#: Channels that cancel are told from this share of the sound on.
CANCELLED_FROM = 0.01
#: Lengths are estimates in some files; an end that is sooner by more is told.
SHORT_S = 0.5


@dataclass
class SoundFaults:
    """What was put right while reading.

    * ``samples``: read so far, of all channels, at the file's rate
    * ``invalid``: NaN or infinite, replaced by 0
    * ``clipped``: beyond [-1, 1], cut off there
    * ``packets`` of the track so far; ``lost``: those that could not be decoded, there is silence in their place
    * ``lost_s``: from when to when that silence is, where the packets say so, in seconds from the origin
    * ``mixed``: samples of the one channel; ``cancelled``: those where the channels, out of phase, leave silence
    * ``short_s``: how much sooner the sound ended than the file says; 0 until it did
    """

    samples: int = 0
    invalid: int = 0
    clipped: int = 0
    packets: int = 0
    lost: int = 0
    lost_s: list[tuple[float, float]] = field(default_factory=list)
    mixed: int = 0
    cancelled: int = 0
    short_s: float = 0.0

    @property
    def _silenced(self) -> float:
        return self.cancelled / self.mixed if self.cancelled > CANCELLED_FROM * self.mixed else 0.0

    def notes(self) -> list[str]:
        """A line for each kind of fault that was found."""
        return [
            *([f"{self.invalid} of {self.samples} samples are no numbers: silence instead"] if self.invalid else []),
            *([f"{self.clipped} of {self.samples} samples are over full scale: clipped"] if self.clipped else []),
            *([f"{self.lost} of {self.packets} packets are damaged: silence instead"] if self.lost else []),
            *([f"{self._silenced:.0%} is silence: the channels cancel, turn one round"] if self._silenced else []),
            *([f"it ends {self.short_s:.1f} s sooner than the file says"] if self.short_s > SHORT_S else []),
        ]


class Coder:
    """Frames of one form → mono at 16 kHz.

    Everything goes through packed floats: PyAV 18 crashes the interpreter where it makes an array of a planar frame of
    eight channels or more. Channels become one before the rate is changed: FFmpeg's own mix of two equal ones is 1.4
    times too loud, and samples that are no numbers must not reach its filter.
    """

    def __init__(self, frame: av.AudioFrame, names: tuple[str, ...] | None) -> None:
        self._form = self._of(frame)
        self._shares = channels.shares(names or [channel.name for channel in frame.layout.channels])
        self._pack = av.AudioResampler(format="flt")
        self._change_rate = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)

    def takes(self, frame: av.AudioFrame) -> bool:
        """Whether the frame has the form of the first one."""
        return self._of(frame) == self._form

    def mono(self, frame: av.AudioFrame, faults: SoundFaults) -> np.ndarray:
        """(N,) float32 in [-1, 1]: what can be said after this frame."""
        parts: list[av.AudioFrame] = []
        for packed in self._pack.resample(frame):
            samples = _in_range(_array(packed).reshape(packed.samples, -1), faults)
            mono = channels.mix(samples, self._shares)
            faults.mixed += len(mono)
            faults.cancelled += len(mono) * channels.cancels(samples, self._shares, mono)
            one = av.AudioFrame.from_ndarray(mono[None], "flt", "mono")
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


def frames_of(
    container: av.container.InputContainer, track: av.AudioStream, origin_s: float, faults: SoundFaults
) -> Iterator[av.AudioFrame]:
    """What the track's packets hold; those that are damaged are counted, and passed over."""
    usual_s = 0.0  # how long a packet lasts, where it does not say
    for packet in container.demux(track):
        frames: list[av.AudioFrame] = []
        faults.packets += packet.size > 0  # the last one has nothing in it, and asks for what is left
        try:
            frames = packet.decode()  # type: ignore[assignment]
        except av.error.FFmpegError:  # each coder has its own
            faults.lost += 1
            _note_lost(packet, origin_s, usual_s, faults)
        for frame in frames:
            if own_order(frame.layout):
                raise OSError(errno.EINVAL, f"its sound has {frame.layout.name}, an order that is not known here")
            if frame.samples:
                usual_s = frame.samples / frame.sample_rate
                yield frame


def _note_lost(packet: av.Packet, origin_s: float, usual_s: float, faults: SoundFaults) -> None:
    if packet.pts is None or packet.time_base is None:
        return
    starts = float(packet.pts * packet.time_base) - origin_s
    ends = starts + (float(packet.duration * packet.time_base) if packet.duration else usual_s)
    if faults.lost_s and 0 <= starts - faults.lost_s[-1][1] < ROUNDING_S:  # one after the other
        starts = faults.lost_s.pop()[0]
    faults.lost_s.append((starts, ends))


def _in_range(samples: np.ndarray, faults: SoundFaults) -> np.ndarray:
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
