"""Videos for tests: real ones cut short, and drawn ones of any kind that a container can hold."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from data_prep.video.video import FrameReader, open_video


def trim(source: Path, target: Path, seconds: float) -> Path:
    """The first seconds of a file, pictures and sound, not coded again; returns ``target``."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        streams = {s.index: outside.add_stream_from_template(s) for s in inside.streams if s.type in ("video", "audio")}
        for packet in inside.demux(*[inside.streams[i] for i in streams]):
            if packet.dts is not None and float(packet.pts * packet.time_base) < seconds:
                packet.stream = streams[packet.stream_index]
                outside.mux(packet)
    return target


def frames_of(path: Path, count: int, first: int = 0) -> list[np.ndarray]:
    """``count`` frames (H, W, 3) uint8 at 25 fps, as ``prepare`` reads them."""
    return list(FrameReader(open_video(path)).read(first, first + count))


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    times_s: Sequence[float] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    container: str | None = None,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 16000,
    audio_codec: str = "aac",
) -> Path:
    """Frames (H, W, 3 or 4) uint8 at ``times_s`` seconds (default: ``rate``); ``sound`` (channels, samples) float32."""
    times = [k / rate for k in range(len(frames))] if times_s is None else times_s
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        video = None
        if len(frames):
            video = out.add_stream(codec, rate=rate, options=codec_options or {})
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = pix_fmt
            fine = codec in ("libx264", "libvpx-vp9", "png", "ffv1")
            video.codec_context.time_base = Fraction(1, 1000) if fine else Fraction(1, rate)
        layout = {1: "mono", 2: "stereo", 8: "7.1"}[len(sound)] if sound is not None else "mono"
        audio = None if sound is None else out.add_stream(audio_codec, rate=sound_rate, layout=layout)
        if video is not None:
            for frame, time in zip(frames, times, strict=True):
                kind = "rgba" if frame.shape[2] == 4 else "rgb24"
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=kind)
                picture.time_base = video.codec_context.time_base
                picture.pts = round(time / picture.time_base)
                out.mux(video.encode(picture))
            out.mux(video.encode())
        if audio is not None and sound is not None:
            for low in range(0, sound.shape[1], 1024):
                part = np.ascontiguousarray(sound[:, low : low + 1024].T.reshape(1, -1), np.float32)
                block = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
                block.sample_rate, block.pts, block.time_base = sound_rate, low, Fraction(1, sound_rate)
                out.mux(audio.encode(block))
            out.mux(audio.encode())
    return path


def turn(path: Path, quarter_turns: float = 0, mirrored: bool = False) -> Path:
    """Set the display matrix of an mp4's first track: clockwise, then left and right exchanged."""
    data, one = bytearray(path.read_bytes()), 1 << 16
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    angle = quarter_turns * np.pi / 2
    c, s = round(one * np.cos(angle)), round(one * np.sin(angle))
    side = -1 if mirrored else 1
    data[at : at + 36] = struct.pack(">9i", side * c, s, 0, -side * s, c, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
