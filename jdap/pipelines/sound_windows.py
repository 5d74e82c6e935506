"""Sound as windows of a video need it, cut out of a stream that may be an hour long.

Shapes: S audio samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from jdap.units import SAMPLE_RATE


class SoundWindows:
    """Reads a stream no further than it must, and keeps no more than it needs.

    Frame k lasts from sample round(16000 k / fps) to that of frame k + 1; a video of the sound has as many frames as
    begin before its end. Before the beginning and after the end there is silence.

    Args:
        sound: samples in [-1, 1]: a tensor (S,) or array, or blocks of any lengths.
        fps: of the video.

    Raises:
        ValueError: when samples are read that are not finite, or out of range.
    """

    def __init__(self, sound: Tensor | np.ndarray | Iterable[Tensor | np.ndarray], fps: float) -> None:
        whole = isinstance(sound, Tensor | np.ndarray)
        self._blocks: Iterator[Tensor | np.ndarray] = iter([sound] if whole else sound)  # type: ignore[list-item]
        self._samples_a_frame = SAMPLE_RATE / Fraction(fps).limit_denominator(1001)
        self._kept, self._start = torch.zeros(0), 0  # the samples at hand, and the index of the first of them
        self._ended = False

    def sample(self, frame: int) -> int:
        """The sample that frame ``frame`` begins with."""
        return round(self._samples_a_frame * frame)

    def frames(self, wanted: int) -> int:
        """How many of the video's first ``wanted`` frames there are."""
        self._read(self.sample(wanted))
        return min(wanted, -int(-self._end // self._samples_a_frame))

    def cut(self, first: int, frames: int) -> Tensor:
        """The sound of ``frames`` frames from frame ``first`` on, (round(16000 frames / fps),) float32.

        What lies before frame ``first`` is forgotten: windows may overlap, but not go back. Raises ValueError where
        they do.
        """
        start = self.sample(first)
        stop = start + self.sample(frames)
        if max(start, 0) < self._start:
            raise ValueError(f"the sound of frame {first} has been passed already: windows only go forward")
        self._read(stop)
        forgotten = min(max(start, 0) - self._start, len(self._kept))
        self._kept = self._kept[forgotten:]
        self._start += forgotten
        window = torch.zeros(stop - start)
        there = self._kept[: max(0, stop - self._start)]
        if len(there):
            window[self._start - start :][: len(there)] = there
        return window

    @property
    def _end(self) -> int:
        return self._start + len(self._kept)

    def _read(self, stop: int) -> None:
        """Read until sample ``stop`` is at hand, or the sound has ended."""
        read = [self._kept]
        end = self._end
        while end < stop and not self._ended:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                read.append(_checked(block))
                end += len(read[-1])
        self._kept = torch.cat(read)


def _checked(block: Tensor | np.ndarray) -> Tensor:
    samples = torch.as_tensor(block).detach().float().cpu()
    # A NaN fails both comparisons, so it is caught here too.
    if samples.ndim != 1 or (len(samples) and not (samples.amin() >= -1 and samples.amax() <= 1)):
        raise ValueError(f"sound must be (S,) samples in [-1, 1], got {tuple(samples.shape)} or others")
    return samples
