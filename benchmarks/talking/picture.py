"""The pictures of ``python -m benchmarks talking``.

Shapes: F frames, H = W pixels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.talking.long import Long
from jdap.io.files import write_whole
from jdap.pipelines.grid import depth_picture

#: Frames of a clip that are shown.
PICTURE_STRIP_FRAMES = 10


def plot_clips(clips: Sequence[dict[str, Tensor]], path: Path) -> None:
    """Write a PNG: for each clip a strip of frames of every label's RGB (F, 3, H, W) or depth (F, 1, H, W)."""
    strips = [(label, frames) for clip in clips for label, frames in clip.items()]
    figure = Figure(figsize=(PICTURE_STRIP_FRAMES + 0.3, 1.06 * len(strips) + 0.2), dpi=110)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    for axes, (label, frames) in zip(figure.subplots(len(strips), 1, squeeze=False)[:, 0], strips, strict=True):
        shown = frames[np.linspace(0, len(frames) - 1, PICTURE_STRIP_FRAMES).round().astype(int)]
        pictures = depth_picture(shown) if shown.shape[1] == 1 else shown
        axes.imshow(((pictures.clamp(-1, 1) + 1) / 2).permute(2, 0, 3, 1).flatten(1, 2).numpy())
        axes.set(xticks=[], yticks=[])
        axes.set_ylabel(label.replace(", ", ",\n"), fontsize=6)
    _save(figure, path)


def plot_long(long: Long, path: Path) -> None:
    """Write a PNG: resident memory against the video's seconds, and changes from frame to frame, borders marked."""
    figure = Figure(figsize=(10, 6), dpi=110)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    memory, rgb, depth = figure.subplots(3, 1, sharex=True)
    at = np.array(long.frames) / long.fps
    memory.plot(at, [np.nan if mb is None else mb for mb in long.resident_mb], color="tab:blue")
    memory.set(ylabel="resident memory, MB", ylim=(0, None))
    borders = np.asarray(long.borders)
    for axes, name, steps in ((rgb, "RGB", long.rgb_changes), (depth, "depth", long.depth_changes)):
        time_s = np.arange(1, len(steps) + 1) / long.fps
        axes.plot(time_s, steps, color="0.6", linewidth=0.7, label="from frame to frame")
        axes.plot(borders / long.fps, np.array(steps)[borders - 1], "r.", markersize=4, label="across a border")
        axes.set(ylabel=f"change of {name}, of 2", ylim=(0, None))
    rgb.legend(loc="upper right", fontsize=8)
    depth.set_xlabel("s of video")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())
