"""One long video: does memory stay flat while it is drawn, how fast is it, and does it jump where windows meet?

Shapes: F frames, H = W pixels, S audio samples.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.talking.measure import borders
from jdap.metrics.motion import border_jumps, changes
from jdap.pipelines.talking import TalkingPipeline
from jdap.units import SAMPLE_RATE

_STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class Long:
    """What was sampled: after each window the seconds since the start, frames so far, and resident memory (None where
    the system does not tell); the mean absolute change of RGB and depth from each frame to the next; the frames to
    which the video goes over from a window to the next, and its fps; of a GPU the most memory that was taken after the
    first window and at the end."""

    borders: list[int]
    fps: float
    seconds: list[float]
    frames: list[int]
    resident_mb: list[float | None]
    rgb_changes: list[float]
    depth_changes: list[float]
    gpu_mb: list[float] | None

    def jumps(self) -> dict[str, dict[str, float]]:
        """:func:`jdap.metrics.motion.border_jumps` of each half."""
        halves = {"rgb": self.rgb_changes, "depth": self.depth_changes}
        return {name: border_jumps(torch.tensor(steps), self.borders) for name, steps in halves.items()}

    @property
    def growth_mb(self) -> float | None:
        """Memory at the end over that after a tenth of the windows, when everything has been allocated once."""
        known = [mb for mb in self.resident_mb if mb is not None]
        return known[-1] - known[min(len(known) - 1, max(1, len(known) // 10))] if known else None

    @property
    def drawn_fps(self) -> float:
        """Frames a second, the first window left out where there are others: it allocates."""
        if len(self.frames) == 1:
            return self.frames[0] / self.seconds[0]
        return (self.frames[-1] - self.frames[0]) / (self.seconds[-1] - self.seconds[0])

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self) | {"jumps": self.jumps(), "growth_mb": self.growth_mb, "drawn_fps": self.drawn_fps}

    def sentence(self) -> str:
        """For people."""
        jumps, known = self.jumps(), [mb for mb in self.resident_mb if mb is not None]
        memory = "memory unknown on this system"
        if self.growth_mb is not None:
            memory = f"memory {known[0]:.0f} MB after the first window, {max(known):.0f} MB at most, "
            memory += f"{self.growth_mb:+.1f} MB from a tenth on to the end"
        if self.gpu_mb is not None:
            memory += f"; GPU {self.gpu_mb[0]:.0f} MB at most in the first window, {self.gpu_mb[1]:.0f} MB in all"
        return (
            f"{self.frames[-1] / self.fps:.1f} s of video in {self.seconds[-1]:.0f} s ({self.drawn_fps:.2f} frames a "
            f"second); {memory}; the {jumps['rgb']['borders']:.0f} changes at windows' borders over those inside "
            f"(medians): RGB {jumps['rgb']['ratio']:.2f}, depth {jumps['depth']['ratio']:.2f}"
        )


def long_video(
    pipeline: TalkingPipeline,
    reference_13HW: Tensor,
    sound_S: Tensor,
    args: argparse.Namespace,
    on_frames: Callable[[int, int], None],
) -> Long:
    """Draw a video of all of ``sound`` and keep nothing of it but the last frame and what :class:`Long` says."""
    device = pipeline.device
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    total = -(-len(sound_S) * pipeline.shape.fps // SAMPLE_RATE)
    seconds, frames, resident, peaks = list[float](), list[int](), list[float | None](), list[float]()
    steps: dict[str, list[float]] = {"rgb": [], "depth": []}
    last: dict[str, Tensor] = {}
    start = time.perf_counter()
    windows = pipeline.talk(
        reference_13HW,
        sound_S.split(SAMPLE_RATE),
        steps=args.steps,
        guidance=args.guidance,
        audio_guidance=args.audio_guidance if pipeline.audio is not None else 1.0,
        seed=args.seed,
    )
    for window in windows:
        for name, half in (("rgb", window.rgb.cpu()), ("depth", window.depth.cpu())):
            joined = torch.cat([last[name], half]) if name in last else half
            steps[name] += changes(joined).tolist()
            last[name] = half[-1:].clone()
        seconds.append(time.perf_counter() - start)
        frames.append((frames[-1] if frames else 0) + len(window.rgb))
        resident.append(resident_mb())
        if gpu:
            peaks.append(torch.cuda.max_memory_allocated(device) / 2**20)
        on_frames(frames[-1], int(total))
    return Long(
        borders=borders(frames[-1], pipeline.shape),
        fps=pipeline.shape.fps,
        seconds=seconds,
        frames=frames,
        resident_mb=resident,
        rgb_changes=steps["rgb"],
        depth_changes=steps["depth"],
        gpu_mb=[peaks[0], peaks[-1]] if gpu else None,
    )


def resident_mb() -> float | None:
    """Memory that this process holds now, in MiB; None where the system does not say (it is not Linux)."""
    if not _STATM.exists():
        return None
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
