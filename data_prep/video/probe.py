"""What is in a video file: which track is the film, when its frames are shown, and how its first one looks.

A file is opened once for its packets, of which no more is kept than a time stamp each, and once for the first frame.
Where the stamps cannot be taken as they are, all frames are decoded once to see which there are and in which order. No
object of a container outlives it.

Shapes: N frames that are shown, M decoded frames.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from data_prep.video.colour import is_plain, to_srgb
from data_prep.video.error import UnreadableVideo
from data_prep.video.timeline import is_regular, repair
from data_prep.video.turn import Turn, turn_of
from jdap.media.containers import MAX_PIXELS, open_container

#: A pixel may be so many times as wide as high, or as high as wide; what is on the market is within 2.5.
MOST_ASPECT = 4.0
#: No time stamp.
_NONE = np.iinfo(np.int64).min
#: What is taken for the rate of a file that says none, frames per second.
_USUAL_FPS = 25.0


@dataclass(frozen=True, eq=False)
class Probe:
    """What :func:`probe` found out.

    * ``track``: number of the film among the file's tracks
    * ``times_s`` (N,) float64: when each frame is shown, on the file's own clock, ascending
    * ``stamps_N`` (N,) int64: the frames' time stamps, by which they are known; None where stamps do not tell
    * ``place_M`` (M,) int64: which of the N the decoder's first, second, … frame is, -1 for none; None if stamps tell
    * ``first``: the first frame (H, W, 3) uint8 sRGB, upright; ``turn``: how it was brought upright
    * ``aspect``: a coded pixel's width over its height
    * ``plain``: whether any decoder would show the same: common colours, no mirror, stamps as they should be
    """

    track: int
    times_s: np.ndarray
    stamps_N: np.ndarray | None
    place_M: np.ndarray | None
    first: np.ndarray
    turn: Turn
    aspect: float
    plain: bool


@dataclass(frozen=True)
class _Track:
    index: int
    base_s: float
    fps: float
    aspect: float
    sized: bool  # not so where the picture was too large to be looked at, or none is whole


def probe(path: Path) -> Probe:
    """Look into a file. Raises :class:`data_prep.video.error.UnreadableVideo` without the file's name, or what FFmpeg
    and the system raise."""
    track, packets = _read_packets(path)
    with open_container(path) as container:
        try:
            frame = next(decode(container, track.index), None)
        except av.error.FFmpegError:
            if track.sized:
                raise
            frame = None
        if frame is None or not len(packets):
            large = "" if track.sized else f", or its picture has over {MAX_PIXELS} pixels"
            raise UnreadableVideo(f"the video has no frames{large}; copy or encode it again")
        turn, plain = turn_of(frame), is_plain(frame)
        first, stamp = turn.apply(to_srgb(frame)), frame.pts
    ordered = np.sort(packets)
    times_s = ordered * track.base_s
    if stamp is not None and ordered[0] != _NONE and is_regular(times_s, track.fps):
        # A stream that was cut amid a group of pictures: what cannot be decoded before the first frame is not there.
        shown = slice(int(np.searchsorted(ordered, stamp)), None)
        if len(ordered[shown]):
            whole = shown.start == 0
            return Probe(
                *(track.index, times_s[shown], ordered[shown], None, first, turn, track.aspect),
                plain and whole and not turn.mirrored,
            )
    times_M = repair(_decoded_times(path, track), track.fps)
    kept = np.isfinite(times_M)
    place_M = np.where(kept, np.cumsum(kept) - 1, -1)
    return Probe(track.index, times_M[kept], None, place_M, first, turn, track.aspect, plain=False)


def decode(container: av.container.InputContainer, track: int) -> Iterator[av.VideoFrame]:
    """The frames of a track, in the order in which they are shown. Too large ones are an error of FFmpeg's."""
    stream: Any = container.streams[track]
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.thread_type = "AUTO"
    yield from container.decode(stream)


def _read_packets(path: Path) -> tuple[_Track, np.ndarray]:
    """The film's track, and the time stamps (N,) int64 of its packets in the order of the file."""
    with open_container(path) as container:
        streams: list[Any] = [s for s in container.streams.video if s.codec_context is not None]
        if not streams:
            raise UnreadableVideo("there is no video track in the file; give a video")
        stamps = {stream.index: array("q") for stream in streams}
        for packet in container.demux(streams):
            if packet.size and not packet.is_discard:
                stamps[packet.stream_index].append(_NONE if packet.pts is None else packet.pts)
        film = min(streams, key=lambda s: _rank(s, len(stamps[s.index])))
        width, height = film.codec_context.width, film.codec_context.height
        if width * height > MAX_PIXELS:
            raise UnreadableVideo(f"its picture of {width} x {height} has over {MAX_PIXELS} pixels; make it smaller")
        rate = film.guessed_rate or film.average_rate or _USUAL_FPS
        aspect = float(film.sample_aspect_ratio or 1)
        track = _Track(film.index, float(film.time_base or 0), float(rate), aspect, width * height > 0)
    if not 1 / MOST_ASPECT <= track.aspect <= MOST_ASPECT:
        raise UnreadableVideo(f"its pixels are said to be {track.aspect:.3g} times as wide as high; encode it again")
    return track, np.frombuffer(stamps[track.index], np.int64)


def _rank(stream: Any, packets: int) -> tuple[bool, bool, int]:
    """The film comes first: no picture (a cover, a preview), then what is marked as default, then the first."""
    flags = stream.disposition
    kind = type(flags)
    picture = bool(flags & (kind.attached_pic | kind.still_image | kind.timed_thumbnails))
    return picture or packets < 2, not flags & kind.default, stream.index


def _decoded_times(path: Path, track: _Track) -> np.ndarray:
    """(M,) when each frame is shown as its stamp says, in seconds, NaN without one; all frames are decoded."""
    stamps = array("q")
    with open_container(path) as container:
        for frame in decode(container, track.index):
            stamps.append(_NONE if frame.pts is None else frame.pts)
    found = np.frombuffer(stamps, np.int64)
    return np.where(found == _NONE, np.nan, found * track.base_s)
