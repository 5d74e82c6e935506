"""Reading video: frames at 25 fps whatever came in, and an error of one line for what is no video.

This is the one file that imports decord. PyAV probes every file first (decord prints to the console or fails on an
internal check for files that are no videos) and gives the true time stamps, the pixel aspect and the rotation.

decord is exact on containers with an index (mp4, mkv, webm, avi). On MPEG program and transport streams it loses the
first group of pictures and repeats the last frame instead, which puts the picture half a second ahead of the sound; and
it decodes ahead of a slow reader without bounds, 15 GB for a minute of 1080p. So decord is used where its number of
frames and its first frame agree with PyAV's and the whole video, decoded, is no burden (:data:`DECORD_BYTES`);
elsewhere PyAV decodes, one frame at a time.

Frames: N in the file, K at 25 fps.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from torch.utils.dlpack import from_dlpack

from jdap.units import FPS

#: Mean absolute difference (of 255) above which decord's first frame is another frame than PyAV's. Equal frames differ
#: by rounding in colour conversion only (measured 0.0), neighbouring frames of a talking head by 1 and more.
SAME_FRAME = 0.5
#: Decoded videos of up to so many bytes are left to decord, which may hold all of one in memory: 13 s at 512 x 512.
DECORD_BYTES = 256 << 20
#: At its end a damaged file may lack this many seconds of pictures; more is an error.
LOST_S = 0.2
#: What a folder is searched for.
SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
    *(".ts", ".mts", ".flv", ".wmv", ".ogv", ".3gp"),
)


class VideoError(ValueError):
    """A file that cannot be read as a video; the message names it and what to do, on one line."""


@dataclass(frozen=True)
class Video:
    """A video that was probed, and how its frames map to 25 fps.

    * ``path``: the file
    * ``width``, ``height``: of a decoded frame, pixels, square pixels, upright
    * ``times_s`` (N,) float64: presentation time of each frame in the file's own clock, ascending
    * ``source_K`` (K,) int64: which frame of the file is shown at 25 fps, nearest in time (the earlier one of two)
    * ``fps``: of the file, frames per second (N frames over its length)
    * ``decoder``: ``decord`` or ``pyav`` (see the module)
    * ``quarter_turns``: how often a coded frame must be turned by 90 degrees anticlockwise (decord does it by itself)
    """

    path: Path
    width: int
    height: int
    times_s: np.ndarray
    source_K: np.ndarray
    fps: float
    decoder: str
    quarter_turns: int

    @property
    def frames(self) -> int:
        """K, the number of frames at 25 fps."""
        return len(self.source_K)

    @property
    def start_s(self) -> float:
        """Presentation time of the first frame in the file's clock: zero of the clip's sound."""
        return float(self.times_s[0])


def open_video(path: Path) -> Video:
    """Probe a file and plan its reading; raises :class:`VideoError`, never anything of a decoder's own."""
    if not path.exists():
        link = " (a link that leads nowhere)" if path.is_symlink() else ""
        raise VideoError(f"{path}: no such file{link}; check the path")
    if not path.is_file() and not path.is_dir():
        raise VideoError(f"{path}: neither a file nor a folder, but a pipe or a device; give a file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty; copy or download it again")
    times_s, first, aspect = _probe(path)
    source_K = resample(times_s, FPS)
    turns = round(first.rotation / 90) % 4
    picture = _upright(first, turns)
    height, width = picture.shape[:2]
    if turns % 2:
        height = round(height * aspect)
    else:
        width = round(width * aspect)
    fps = len(times_s) / (times_s[-1] - times_s[0] + _frame_seconds(times_s))
    small = picture.nbytes * len(times_s) <= DECORD_BYTES
    decoder = "decord" if small and _decord_agrees(path, len(times_s), picture) else "pyav"
    return Video(path, width, height, times_s, source_K, fps, decoder, turns)


def resample(times_s: np.ndarray, fps: float) -> np.ndarray:
    """Which frame is nearest in time to each tick of a clock at ``fps`` that starts with the first frame.

    ``times_s`` (N,) ascending seconds → (K,) int64 ascending, K the length (last frame's duration included) in ticks,
    rounded, at least 1. Of two frames at the same distance the earlier one is taken.
    """
    length_s = times_s[-1] - times_s[0] + _frame_seconds(times_s)
    ticks_s = times_s[0] + np.arange(max(1, round(length_s * fps))) / fps
    after = np.searchsorted(times_s, ticks_s).clip(1, max(1, len(times_s) - 1))
    before = after - 1
    after = np.minimum(after, len(times_s) - 1)
    # A hair's breadth towards the earlier frame, so that rounding of time stamps does not decide ties.
    nearer = times_s[after] - ticks_s < ticks_s - times_s[before] - 1e-6
    return np.where(nearer, after, before)


class FrameReader:
    """Reads the 25 fps frames of a video in order, each coded frame decoded once; memory holds two frames.

    ``read(start, stop)`` yields frames ``start`` … ``stop - 1`` as (H, W, 3) uint8 RGB. Later calls may skip frames but
    not go back. Frames that 25 fps repeats are the same array: do not write into it. A frame that cannot be decoded is
    stood for by the one before it. Raises :class:`VideoError` when the file ends or breaks more than :data:`LOST_S`
    before its time stamps do.
    """

    def __init__(self, video: Video):
        self.video = video
        self._decoded = (_read_decord if video.decoder == "decord" else _read_pyav)(video)
        self._ahead: tuple[int, np.ndarray] | None = None
        self._index, self._frame, self._given = -1, np.zeros((0, 0, 3), np.uint8), -1

    def read(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Frames ``start`` … ``stop - 1`` of the 25 fps clock, (H, W, 3) uint8."""
        video = self.video
        if self._index < 0 and self._ahead is None:  # not before: a decoder may hold much once it runs
            self._ahead = next(self._decoded, None)
        for k in range(start, stop):
            wanted = int(video.source_K[k])
            if k < self._given:
                raise ValueError(f"frame {k} has been passed already: a FrameReader only goes forward")
            while self._ahead is not None and (self._ahead[0] <= wanted or self._index < 0):
                self._index = self._ahead[0]
                self._frame = _square_pixels(self._ahead[1], video.width, video.height)
                self._ahead = next(self._decoded, None)
            if self._index < 0 or (self._ahead is None and video.times_s[wanted] - video.times_s[self._index] > LOST_S):
                raise VideoError(
                    f"{video.path}: decoding ends at frame {self._index + 1} of {len(video.times_s)}; the file is "
                    "damaged, copy or encode it again"
                )
            self._given = k
            yield self._frame


def find_videos(inputs: list[Path]) -> list[tuple[Path, str]]:
    """The files that inputs stand for, in order, each with a name to make an id of.

    A folder stands for its video files (by suffix, :data:`SUFFIXES`, recursive, sorted), named by their path from the
    folder's parent; every other path, also a missing one, stands for itself, named by its folder's name and its own.
    Hidden files are left out. A folder without videos stands for itself, so that it gets a row.
    """
    found: list[tuple[Path, str]] = []
    for root in inputs:
        inside, real = [], Path(os.path.realpath(root))  # unlike resolve() it takes links that go round
        if root.is_dir():
            for path in sorted(root.rglob("*")):
                relative = path.relative_to(root)
                hidden = any(part.startswith(".") for part in relative.parts)
                # Broken links and pipes are in, too: they get a row that says so.
                if path.suffix.lower() in SUFFIXES and not hidden and not path.is_dir():
                    inside.append((path, f"{real.name}/{relative.as_posix()}"))
        found += inside or [(root, f"{real.parent.name}/{root.name}")]
    return found


def _probe(path: Path) -> tuple[np.ndarray, av.VideoFrame, float]:
    """Sorted presentation times of the frames, the first decoded frame, and a pixel's width over its height."""
    if path.is_dir():
        raise VideoError(f"{path}: the folder holds no video file ({', '.join(SUFFIXES)})")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: there is no video track in the file; give a video")
            stream = container.streams.video[0]
            base = float(stream.time_base or 0)
            aspect = float(stream.sample_aspect_ratio or 1)
            packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
            stamps = [p.pts for p in packets if p.pts is not None]
        with av.open(str(path)) as container:
            first = next(container.decode(video=0), None)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: not a readable video ({error.strerror}); give a video file") from error
    if first is None or not stamps:
        raise VideoError(f"{path}: the video has no frames; copy or encode it again")
    if len(stamps) < len(packets):  # e.g. raw or old AVI streams: the container knows a rate only
        return np.arange(len(packets)) / float(stream.guessed_rate or stream.average_rate or FPS), first, aspect
    return np.unique(np.array(stamps, np.float64)) * base, first, aspect


def _frame_seconds(times_s: np.ndarray) -> float:
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1 / FPS


def _upright(frame: av.VideoFrame, quarter_turns: int) -> np.ndarray:
    """A frame of PyAV as RGB, turned upright."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))


def _square_pixels(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    if rgb.shape[:2] == (height, width):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))


def _read_pyav(video: Video) -> Iterator[tuple[int, np.ndarray]]:
    """(index among the file's time stamps, frame); frames that cannot be decoded are left out."""
    index = -1
    try:
        with av.open(str(video.path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                # By its own time where it has one: decoders drop frames that refer to what was cut off.
                near = index + 1 if frame.time is None else int(np.abs(video.times_s - frame.time).argmin())
                index = max(near, index + 1)
                if index < len(video.times_s):
                    yield index, _upright(frame, video.quarter_turns)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{video.path}: decoding breaks off ({error.strerror}); the file is damaged") from error


def _read_decord(video: Video) -> Iterator[tuple[int, np.ndarray]]:
    """(index among the file's time stamps, frame)."""
    decord = _decord()
    reader = decord.VideoReader(str(video.path))
    for index in range(len(video.times_s)):
        try:
            yield index, _numpy(reader.next())
        except StopIteration:
            return
        except (decord.DECORDError, RuntimeError) as error:
            # decord's own words hold the time of day and its source's paths: no two runs' rows would be the same.
            raise VideoError(
                f"{video.path}: decoding breaks off at frame {index} of {len(video.times_s)}; the file is damaged"
            ) from error


def _decord_agrees(path: Path, frames: int, first: np.ndarray) -> bool:
    """Whether decord shows the same frames as PyAV: as many, and the same first one."""
    decord = _decord()
    try:
        reader = decord.VideoReader(str(path))
        if len(reader) != frames:
            return False
        frame = _numpy(reader.next())
    except (decord.DECORDError, RuntimeError, StopIteration):
        return False
    return frame.shape == first.shape and float(np.abs(frame.astype(np.int16) - first).mean()) < SAME_FRAME


def _numpy(frame: Any) -> np.ndarray:
    """A frame of decord's. Its own ``asnumpy`` leaves every frame in a reference cycle, for the collector to find."""
    return from_dlpack(frame.to_dlpack()).numpy()


@functools.cache
def _decord():
    try:
        import decord
    except ImportError as error:
        raise ImportError("reading video needs decord: pip install decord (on Arm or macOS: decord2)") from error
    decord.logging.set_level(decord.logging.ERROR)
    return decord
