"""Frames by decord (the one file that imports it; decord2 has the same module name).

decord is exact on containers with an index (mp4, mkv, webm, avi). On MPEG program and transport streams it loses the
first group of pictures and repeats the last frame instead, which puts the picture half a second ahead of the sound; and
it decodes ahead of a slow reader without bounds, 15 GB for a minute of 1080p. So it is used where its number of frames
and its first frame agree with PyAV's and the whole video, decoded, is no burden.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.dlpack import from_dlpack

from data_prep.video.error import UnreadableVideo

#: Mean absolute difference (of 255) above which decord's first frame is another frame than PyAV's. Equal frames differ
#: by rounding in colour conversion only (measured 0.0), neighbouring frames of a talking head by 1 and more.
SAME_FRAME = 0.5


def agrees(path: Path, frames: int, first: np.ndarray) -> bool:
    """Whether decord shows the same frames as PyAV: as many, and the same first one."""
    decord = _decord()
    try:
        reader = decord.VideoReader(os.fspath(path))
        if len(reader) != frames:
            return False
        frame = _numpy(reader.next())
    except (decord.DECORDError, RuntimeError, StopIteration, UnicodeEncodeError):  # the last: a name that is no UTF-8
        return False
    return frame.shape == first.shape and float(np.abs(frame.astype(np.int16) - first).mean()) < SAME_FRAME


def read(path: Path, frames: int) -> Iterator[tuple[int, np.ndarray]]:
    """(index, frame (H, W, 3) uint8, upright) of each of the file's ``frames``, one after the other."""
    decord = _decord()
    reader = decord.VideoReader(os.fspath(path))
    for index in range(frames):
        try:
            yield index, _numpy(reader.next())
        except StopIteration:
            return
        except (decord.DECORDError, RuntimeError) as error:
            # decord's own words hold the time of day and its source's paths: no two runs' rows would be the same.
            raise UnreadableVideo(
                f"{path}: decoding breaks off at frame {index} of {frames}; the file is damaged"
            ) from error


def _numpy(frame: Any) -> np.ndarray:
    """A frame of decord's. Its own ``asnumpy`` leaves every frame in a reference cycle, for the collector to find."""
    return from_dlpack(frame.to_dlpack()).numpy()


@functools.cache
def _decord() -> Any:
    try:
        import decord
    except ImportError as error:
        raise ImportError("reading video needs decord: pip install decord (on Arm or macOS: decord2)") from error
    decord.logging.set_level(decord.logging.ERROR)
    return decord
