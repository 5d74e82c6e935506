"""Reading the frames of a video one after another.

Shapes: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from jdap.media.containers import open_container

#: What videos are called; everything else is read as a photo.
VIDEOS = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"}
#: Of a file that does not say.
DEFAULT_FPS = 25.0


class FramesError(ValueError):
    """A video that cannot be read; the message names it and says what to do."""


def read_frames(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The frames (H, W, 3) uint8 sRGB of a video's first picture track, and how many there are a second.

    As they are stored: a phone's note that they lie on their side is not followed. Raises :class:`FramesError` for what
    is no video, and for damage where it comes.
    """
    return _read(path, "rgb24")


def read_grey(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The same as 16-bit grey (H, W) uint16: how depth is stored. Raises as :func:`read_frames`."""
    return _read(path, "gray16le")


def _read(path: Path, kind: str) -> Iterator[tuple[np.ndarray, float]]:
    try:
        with open_container(path) as container:
            if not container.streams.video:
                raise FramesError(f"{path}: no picture track")
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
            for frame in container.decode(stream):
                yield frame.to_ndarray(format=kind), fps
    except (OSError, av.error.FFmpegError) as error:
        raise FramesError(f"{path}: cannot be read as a video: {error.strerror or error}") from error
