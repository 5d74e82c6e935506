"""Whole clips of shards for benchmarks of talking: they must say how far the mouth is open."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from benchmarks import BenchmarkError
from jdap.batch import ClipBatch
from jdap.data.clips import read_clips


def talking_clips(
    spec: str, size_px: int, limit: int | None = None, stride: int = 1, silent: bool = False
) -> Iterator[ClipBatch]:
    """The clips of shards one at a time (B = 1), at ``size_px`` pixels, at most ``limit``.

    Every ``stride``-th frame. Without ``silent`` they must have sound. Raises :class:`benchmarks.BenchmarkError`, or
    what :func:`jdap.data.clips.read_clips` raises, naming the shards or the clip.
    """
    for clip in islice(read_clips(spec, size_px=size_px, stride=stride), limit):
        lacks = [] if clip.lip_opening_mm.isfinite().all() else ["lip_opening_mm"]
        lacks += [] if silent or clip.has_audio.all() else ["sound"]
        if lacks:
            raise BenchmarkError(
                f"{spec}: clip {clip.key[0]} has no {' and no '.join(lacks)}; "
                "`python -m data_prep studio --talk` makes clips that talk"
            )
        yield clip
