"""The head in a video: its window in each frame, steady over time.

Shapes: F frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from jdap.faces.crop import SMOOTH_S
from jdap.media.frames import FramesError, read_frames
from jdap.photos.read import Photo, PhotoError
from jdap.photos.window import Choose


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as a ``photo``, and the head's ``window_px`` in it."""

    photo: Photo
    window_px: np.ndarray


@dataclass(frozen=True, eq=False)
class RelitClip:
    """``windows_px`` (F, 3) left, top, size; ``fps``; ``notes`` for the video's owner."""

    path: Path
    windows_px: np.ndarray
    fps: float
    notes: tuple[str, ...] = ()

    def frames(self) -> Iterator[Frame]:
        """The frames, read once more."""
        for window_px, (rgb, _) in zip(self.windows_px, read_frames(self.path), strict=False):
            yield Frame(Photo(rgb), window_px)


def windows_of(path: Path, choose: Choose, most: int | None = None) -> RelitClip:
    """Where the head is in each of the first ``most`` frames: of one size, following it smoothly.

    A frame in which none is found takes the window of its neighbours. Raises :class:`PhotoError` where none is found in
    any, and :class:`jdap.media.frames.FramesError` for what is no video.
    """
    found: list[np.ndarray | None] = []
    fps = 0.0
    for rgb, rate in read_frames(path):
        if most is not None and len(found) == most:
            break
        fps = rate
        found.append(_window(Photo(rgb), path, choose))
    if not found:
        raise FramesError(f"{path}: it has no frames")
    seen = np.array([window is not None for window in found])
    if not seen.any():
        raise PhotoError(f"{path}: no upright face is found in any frame; name the square with --box LEFT,TOP,SIZE")
    at = np.stack([window for window in found if window is not None])
    frames = np.arange(len(found))
    middle = np.column_stack([np.interp(frames, frames[seen], at[:, i] + at[:, 2] / 2) for i in (0, 1)])
    middle = gaussian_filter1d(middle, SMOOTH_S * fps / 2, axis=0, mode="nearest") if len(found) > 1 else middle
    size = float(np.quantile(at[:, 2], 0.95))
    windows = np.column_stack([middle - size / 2, np.full(len(found), size)])
    missing = int((~seen).sum())
    return RelitClip(path, windows, fps, (f"no face in {missing} of {len(found)} frames",) if missing else ())


def _window(photo: Photo, path: Path, choose: Choose) -> np.ndarray | None:
    try:
        chosen = choose(photo, path)
    except PhotoError:
        return None
    return None if chosen.photo.turned else chosen.windows_px[0]
