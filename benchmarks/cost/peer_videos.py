"""Reading a video at 25 fps and preparing it: ours against the usual scripts (:mod:`benchmarks.cost.peer_scripts`).

Shapes: pictures H x W.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks import BenchmarkError
from benchmarks.cost import peer_scripts
from benchmarks.cost.side_by_side import Part
from benchmarks.cost.timing import Call
from data_prep.clips.steps import PrepareSettings, Tools
from data_prep.clips.steps.pipeline import Divided, Task, prepare_video
from data_prep.video.video import FrameReader, open_video
from jdap.media.video import VideoWriter

#: Of a drawn video: seconds, pixels, frames a second, and the side of its blobs.
_DRAWN_S, _DRAWN_HW, _DRAWN_FPS, _BLOB = 4.0, (720, 1280), 30, 40

VIDEO_READERS = {"decord": peer_scripts.by_decord, "OpenCV": peer_scripts.by_cv2, "PyAV": peer_scripts.by_pyav}


def reading_part(path: Path) -> Part:
    """All frames at 25 fps: our reader against each of the usual libraries, frame by frame."""
    builders = {"ours": partial(our_reading, path)} | {
        name: partial(usual_reading, path, name) for name in VIDEO_READERS
    }
    return Part("reading", path.name, builders, tuple((f"against {name}", "ours", name) for name in VIDEO_READERS))


def preparation_part(path: Path, size_px: int) -> Part:
    """A video to shards with fitted depth, against one to a folder of JPEGs of the face."""
    builders = {
        "ours": partial(our_preparation, path, size_px),
        "script": partial(usual_preparation, path, size_px, False),
        "tracking script": partial(usual_preparation, path, size_px, True),
    }
    compared = (("against a script", "ours", "script"), ("against one that tracks", "ours", "tracking script"))
    return Part("preparation", f"{path.name}, {size_px}²", builders, compared)


def draw_video(path: Path, seconds: float = _DRAWN_S, size_HW: tuple[int, int] = _DRAWN_HW) -> Path:
    """Coloured blobs that drift under a little grain, as H.264 at :data:`_DRAWN_FPS` frames a second; no sound."""
    rng = np.random.default_rng(0)
    height, width = size_HW
    blobs = rng.integers(0, 255, (height // _BLOB + 2, 2 * width // _BLOB + 2, 3), np.uint8)
    wide = cv2.resize(blobs, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    with VideoWriter(path, _DRAWN_FPS, sound=False) as writer:
        for k in range(round(seconds * _DRAWN_FPS)):
            shown = np.roll(wide, 3 * k, axis=1)[:, :width].astype(np.int16)
            grain = rng.integers(-4, 5, (height, width, 1), np.int16)
            writer.frame((shown + grain).clip(0, 255).astype(np.uint8))
    return path


def our_reading(path: Path) -> Call:
    """As ``prepare`` reads: the file is looked into first, every time. It gives the number of frames."""

    def read() -> int:
        video = open_video(path)
        return sum(1 for _ in FrameReader(video).read(0, video.frames))

    return read


def usual_reading(path: Path, name: str) -> Call:
    """By one of :data:`VIDEO_READERS`. It gives the number of frames."""
    return lambda: sum(1 for _ in VIDEO_READERS[name](path))


def our_preparation(path: Path, size_px: int) -> Call:
    """All steps of ``data_prep prepare`` in this process: the fit, depth, scores, sound and the shards.

    The call raises BenchmarkError for a video that gives no clip.
    """
    tools = Tools(PrepareSettings(size_px))

    def prepare() -> int:
        with tempfile.TemporaryDirectory() as folder:
            rows = prepare_video(Task(path, path.name, "v", Path(folder) / "v", Path(folder) / "sheets"), tools)
            assert not isinstance(rows, Divided)  # it was not asked for
            if not (frames := sum(row["frames"] for row in rows if any((Path(folder) / "v").rglob("*.tar")))):
                raise BenchmarkError(f"{path}: {rows[0]['reason']}; --video needs one with a face")
            return frames

    return prepare


def usual_preparation(path: Path, size_px: int, tracks: bool) -> Call:
    """By :func:`benchmarks.cost.peer_scripts.prepare`; raises BenchmarkError where no frame has a face."""

    def prepare() -> int:
        with tempfile.TemporaryDirectory() as folder:
            if not (frames := peer_scripts.prepare(path, Path(folder), size_px, tracks)):
                raise BenchmarkError(f"{path}: no face is found; --video needs one with a face")
            return frames

    return prepare
