"""Reading video: frames at 25 fps whatever came in, and an error of one line for what is no video.

PyAV looks into every file first (:mod:`data_prep.video.probe`) and gives the true time stamps, the pixel aspect, how
pictures are turned and what their colours mean. decord decodes small plain videos where it shows the same frames
(:mod:`data_prep.video.decord`); elsewhere PyAV decodes, one frame at a time.

Frames: N in the file, K at 25 fps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from data_prep.video import decord as video_decord
from data_prep.video.colour import to_srgb
from data_prep.video.error import UnreadableVideo
from data_prep.video.find import VIDEO_SUFFIXES, find_videos
from data_prep.video.probe import Probe, decode, probe
from data_prep.video.timeline import lay_ticks, resample
from data_prep.video.turn import Turn
from jdap.media.containers import MAX_PIXELS, open_container

__all__ = ["FPS", "VIDEO_SUFFIXES", "FrameReader", "UnreadableVideo", "Video", "find_videos", "open_video", "resample"]

from jdap.units import FPS

#: Decoded videos of up to so many bytes are left to decord, which may hold all of one in memory: 13 s at 512 x 512.
DECORD_BYTES = 256 << 20
#: At its end a damaged file may lack this many seconds of pictures; more is an error.
LOST_S = 0.2
#: Reading that begins amid a file begins so much sooner: the first pictures after a leap may be broken. Some containers
#: leap too far, by less than a few groups of pictures: then from sooner.
RUN_UPS_S = (1.0, 10.0, 60.0)


@dataclass(frozen=True)
class Video:
    """A video that was probed, and how its frames map to 25 fps.

    * ``path``: the file
    * ``width``, ``height``: of a decoded frame, pixels, square pixels, upright
    * ``times_s`` (N,) float64: presentation time of each frame in the file's own clock, ascending
    * ``source_K`` (K,) int64: which frame of the file is shown at 25 fps, nearest in time (the earlier one of two)
    * ``ticks_s`` (K,) float64: the time of each of these on the file's own clock; 1/25 s apart but at ``starts``
    * ``starts``: where the 25 fps clock starts, the first one 0: after a long time without a frame it starts again
    * ``fps``: of the file, frames per second (N frames over the time in which there are any)
    * ``decoder``: ``decord`` or ``pyav`` (see the module)
    * ``track``: number of the film among the file's tracks; ``turn``: how a coded frame is brought upright
    * ``stamps_N``, ``place_M``: how a decoded frame is found among the N, see :class:`data_prep.video.probe.Probe`
    """

    path: Path
    width: int
    height: int
    times_s: np.ndarray
    source_K: np.ndarray
    ticks_s: np.ndarray
    fps: float
    decoder: str
    track: int
    turn: Turn
    stamps_N: np.ndarray | None = None
    place_M: np.ndarray | None = None
    starts: tuple[int, ...] = field(default=(0,))

    @property
    def frames(self) -> int:
        """K, the number of frames at 25 fps."""
        return len(self.source_K)

    @property
    def start_s(self) -> float:
        """Presentation time of the first frame in the file's clock."""
        return float(self.times_s[0])

    def source_fps(self, start: int, stop: int) -> float:
        """Frames per second that the file has for frames ``start`` … ``stop - 1`` at 25 fps."""
        low, high = self.ticks_s[start] - 0.5 / FPS, self.ticks_s[stop - 1] + 0.5 / FPS
        # A pause within would count as time without frames; the clock stops there.
        stopped = sum(self.ticks_s[k] - self.ticks_s[k - 1] - 1 / FPS for k in self.starts if start < k < stop)
        shown = np.searchsorted(self.times_s, high) - np.searchsorted(self.times_s, low)
        return float(shown / (high - low - stopped))


def open_video(path: Path) -> Video:
    """Probe a file and plan its reading; raises :class:`UnreadableVideo`, never anything of a decoder's own."""
    _check_file(path)
    try:
        found = probe(path)
    except UnreadableVideo as error:
        raise UnreadableVideo(f"{path}: {error}") from error
    except (av.error.FFmpegError, OSError) as error:
        raise UnreadableVideo(f"{path}: not a readable video ({error.strerror}); give a video file") from error
    width, height = _square_size(path, found)
    ticks = lay_ticks(found.times_s, FPS)
    fps = len(found.times_s) / ticks.length_s
    small = found.first.nbytes * len(found.times_s) <= DECORD_BYTES
    by_decord = small and found.plain and video_decord.agrees(path, len(found.times_s), found.first)
    return Video(
        *(path, width, height, found.times_s, ticks.source_K, ticks.times_K, fps),
        *("decord" if by_decord else "pyav", found.track, found.turn, found.stamps_N, found.place_M, ticks.starts),
    )


class FrameReader:
    """Reads the 25 fps frames of a video in order, each coded frame decoded once; memory holds two frames.

    ``read(start, stop)`` yields frames ``start`` … ``stop - 1`` as (H, W, 3) uint8 RGB. Later calls may skip frames but
    not go back, nor before ``first``: PyAV decodes from the last whole picture before that on, where the file can be
    leapt in and its stamps tell; else, like decord, from its beginning. Frames that 25 fps repeats are the same array:
    do not write into it. A frame that cannot be decoded is stood for by the one before it. Raises
    :class:`UnreadableVideo` when the file ends or breaks more than :data:`LOST_S` before its time stamps do.
    """

    def __init__(self, video: Video, first: int = 0):
        self.video = video
        by_decord = video.decoder == "decord"
        self._decoded = _read_decord(video) if by_decord else _read_pyav(video, int(video.source_K[first]))
        self._ahead: tuple[int, _Shown] | None = None
        self._index, self._given = -1, -1
        self._frame: np.ndarray | _Shown = np.zeros((0, 0, 3), np.uint8)

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
                self._index, self._frame = self._ahead
                self._ahead = next(self._decoded, None)
            if self._index < 0 or (self._ahead is None and video.times_s[wanted] - video.times_s[self._index] > LOST_S):
                raise UnreadableVideo(
                    f"{video.path}: decoding ends at frame {self._index + 1} of {len(video.times_s)}; the file is "
                    "damaged, copy or encode it again"
                )
            self._given = k
            if not isinstance(self._frame, np.ndarray):  # frames that 25 fps does not show are never converted
                self._frame = _square_pixels(self._frame(), video.width, video.height)
            yield self._frame


def whole_picture(video: Video, k: int) -> np.ndarray | None:
    """The last picture before frame ``k`` that is coded by itself, (H, W, 3) uint8; None where there is no telling."""
    if video.stamps_N is None:
        return None
    try:
        with open_container(video.path) as container:
            stream: Any = container.streams[video.track]
            stream.codec_context.skip_frame = "NONKEY"
            container.seek(int(video.stamps_N[video.source_K[k]]), stream=stream)
            frame = next(decode(container, video.track), None)
            return None if frame is None else _square_pixels(_convert(video, frame), video.width, video.height)
    except (av.error.FFmpegError, OSError):
        return None


#: What gives a decoded frame as (H, W, 3) uint8, upright, when it is to be shown.
_Shown = Callable[[], np.ndarray]


def _check_file(path: Path) -> None:
    if path.is_dir():
        try:
            next(path.iterdir(), None)
        except OSError as error:
            raise UnreadableVideo(
                f"{path}: the folder cannot be searched ({error.strerror}); change its rights"
            ) from error
        raise UnreadableVideo(f"{path}: the folder holds no video file ({', '.join(VIDEO_SUFFIXES)})")
    if not path.exists():
        link = " (a link that leads nowhere)" if path.is_symlink() else ""
        raise UnreadableVideo(f"{path}: no such file{link}; check the path")
    if not path.is_file():
        raise UnreadableVideo(f"{path}: neither a file nor a folder, but a pipe or a device; give a file")
    if path.stat().st_size == 0:
        raise UnreadableVideo(f"{path}: the file is empty; copy or download it again")


def _square_size(path: Path, found: Probe) -> tuple[int, int]:
    """Width and height of a frame with square pixels."""
    height, width = found.first.shape[:2]
    if found.turn.quarters % 2:
        height = round(height * found.aspect)
    else:
        width = round(width * found.aspect)
    if width * height > MAX_PIXELS:
        raise UnreadableVideo(
            f"{path}: its picture of {width} x {height} has over {MAX_PIXELS} pixels; make it smaller"
        )
    return max(width, 1), max(height, 1)


def _square_pixels(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    if rgb.shape[:2] == (height, width):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))


def _read_decord(video: Video) -> Iterator[tuple[int, _Shown]]:
    for index, frame in video_decord.read(video.path, len(video.times_s)):
        yield index, partial(np.asarray, frame)


def _read_pyav(video: Video, first: int) -> Iterator[tuple[int, _Shown]]:
    """(index among the N, frame), ascending, from one before ``first`` on; frames that cannot be decoded, or have no
    place, are left out."""
    last = -1
    try:
        amid = (_amid(video, first, run_up_s) for run_up_s in RUN_UPS_S)
        for index, frame in next(filter(None, amid), None) or _from_start(video):
            if index > last:
                last = index
                yield index, partial(_convert, video, frame)
    except (av.error.FFmpegError, OSError) as error:
        raise UnreadableVideo(f"{video.path}: decoding breaks off ({error.strerror}); the file is damaged") from error


def _from_start(video: Video) -> Iterator[tuple[int, av.VideoFrame]]:
    with open_container(video.path) as container:
        last = -1
        for number, frame in enumerate(decode(container, video.track)):
            last = max(last, index := _place(video, number, frame.pts, last))
            yield index, frame


def _amid(video: Video, first: int, run_up_s: float) -> Iterator[tuple[int, av.VideoFrame]] | None:
    """The frames from ``run_up_s`` or more before ``first`` on; None where one cannot begin there: the file has no
    index, its stamps do not tell, or no whole picture comes before."""
    at = int(np.searchsorted(video.times_s, video.times_s[first] - run_up_s, "right")) - 1
    if at <= 0 or video.stamps_N is None:
        return None
    container = open_container(video.path)
    try:
        container.seek(int(video.stamps_N[at]), stream=container.streams[video.track])
        frames = decode(container, video.track)
        frame = next(frames, None)
    except av.error.FFmpegError:
        frame = None
    if frame is None or frame.pts is None or (index := _place(video, -1, frame.pts, -1)) > at:
        container.close()
        return None
    return _go_on(video, container, index, frame, frames)


def _go_on(
    video: Video,
    container: av.container.InputContainer,
    index: int,
    frame: av.VideoFrame,
    frames: Iterator[av.VideoFrame],
) -> Iterator[tuple[int, av.VideoFrame]]:
    with container:
        yield index, frame
        for frame in frames:
            index = max(index, found := _place(video, -1, frame.pts, index))
            yield found, frame


def _convert(video: Video, frame: av.VideoFrame) -> np.ndarray:
    try:
        return video.turn.apply(to_srgb(frame))
    except UnreadableVideo as error:
        raise UnreadableVideo(f"{video.path}: {error}") from error


def _place(video: Video, number: int, stamp: int | None, last: int) -> int:
    """Which of the N the decoder's frame of that number is, -1 for none."""
    if video.place_M is not None:
        return int(video.place_M[number]) if number < len(video.place_M) else -1
    assert video.stamps_N is not None
    if stamp is None:
        return last + 1 if last + 1 < len(video.stamps_N) else -1
    # By its own time: decoders drop frames that refer to what was cut off. Some give a frame a time a little off.
    after = min(int(np.searchsorted(video.stamps_N, stamp)), len(video.stamps_N) - 1)
    before = max(after - 1, 0)
    return after if video.stamps_N[after] - stamp <= stamp - video.stamps_N[before] else before
