"""Timing calls against one another on a machine that others may use as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

Call = Callable[[], object]


@dataclass
class Timing:
    """Every measured call: seconds by the clock, seconds of processor time, and on a GPU the largest peak memory."""

    wall_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    peak_bytes: int | None = None

    def seconds(self, clock: str) -> list[float]:
        """``wall_s`` or ``processor_s``."""
        seconds: list[float] = getattr(self, clock)
        return seconds

    def to_json(self) -> dict[str, Any]:
        """Rounded to tenths of a millisecond."""
        kinds = {clock: [round(s, 4) for s in self.seconds(clock)] for clock in ("wall_s", "processor_s")}
        return {**kinds, "peak_bytes": self.peak_bytes}


def interleaved(calls: Mapping[str, Call], repeats: int, device: torch.device) -> dict[str, Timing]:
    """Call each once unmeasured, and then all of them in turn, ``repeats`` rounds: A, B, A, B …

    So a change of what else the machine does falls on all alike. On a GPU each call ends when the device has.
    """
    timings = {name: Timing() for name in calls}
    gpu = device.type == "cuda"
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            if gpu:
                torch.cuda.synchronize(device)
                torch.cuda.reset_peak_memory_stats(device)
            wall, processor = time.perf_counter(), time.process_time()
            call()
            if gpu:
                torch.cuda.synchronize(device)
            timing = timings[name]
            timing.wall_s.append(time.perf_counter() - wall)
            timing.processor_s.append(time.process_time() - processor)
            if gpu:
                timing.peak_bytes = max(timing.peak_bytes or 0, torch.cuda.max_memory_allocated(device))
    return timings


def compare(ours: Timing, theirs: list[Timing], clock: str) -> dict[str, Any]:
    """Seconds of ours beside the sum of theirs, and the ratio round by round: its median and extremes."""
    mine = ours.seconds(clock)
    sums = [sum(parts) for parts in zip(*(t.seconds(clock) for t in theirs), strict=True)]
    ratios = [a / b for a, b in zip(mine, sums, strict=True)]
    return {
        "ours_s": median(mine),
        "theirs_s": median(sums),
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }


def best_seconds(call: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.thread_time) -> float:
    """Processor time of the fastest of ``repeats`` calls: what else the machine does only ever makes a call longer.

    ``clock``: ``time.process_time`` for what runs on several threads.
    """
    shortest = float("inf")
    for _ in range(repeats):
        start = clock()
        call()
        shortest = min(shortest, clock() - start)
    return shortest
