"""Frames of several tracks, one after the other.

Shapes: B tracks, M frames of all of them, F frames of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


class Layout:
    """Frames of several tracks, one after the other: ``track_M`` and ``slot_M`` int64 are a frame's track and place.

    ``lengths_B`` int64 says how many frames each track has.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self._lengths = list(lengths)
        self.lengths_B = torch.tensor(self._lengths, device=device)
        tracks = torch.arange(len(lengths), device=device)
        self.track_M = tracks.repeat_interleave(self.lengths_B, output_size=sum(lengths))
        first = self.lengths_B.cumsum(0) - self.lengths_B
        self.slot_M = torch.arange(len(self.track_M), device=device) - first[self.track_M]
        self.longest = max(lengths)

    def slices(self) -> list[slice]:
        """The frames of each track."""
        ends = list(accumulate(self._lengths))
        return [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]

    def pad(self, values_M: Tensor, fill: float = 0.0) -> Tensor:
        """(M, …) → (B, F, …), ``fill`` where a track has ended."""
        out = values_M.new_full((len(self.lengths_B), self.longest, *values_M.shape[1:]), fill)
        out[self.track_M, self.slot_M] = values_M
        return out

    def flat(self, values_BF: Tensor) -> Tensor:
        """(B, F, …) → (M, …)."""
        return values_BF[self.track_M, self.slot_M]

    def total(self, values_M: Tensor) -> Tensor:
        """(M,) → (B,): sums over tracks, each in the order of its frames."""
        return self.pad(values_M).sum(1)

    def inner(self) -> Tensor:
        """(B, F - 2) bool: where frames f, f + 1 and f + 2 belong to the track."""
        return torch.arange(max(self.longest - 2, 0), device=self.lengths_B.device) + 2 < self.lengths_B[:, None]
