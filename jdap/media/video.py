"""Writing videos as they are drawn: frames one by one, sound in blocks, memory that does not grow with length.

Every writer is a context manager. What it writes lies beside its place under ``NAME.part`` and gets its name when the
``with`` block ends; when that ends by an exception (or Ctrl-C), the part is removed and what was there before stays.

Shapes: H x W pixels, S audio samples.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from PIL import Image

from jdap.choices import CRF
from jdap.io.files import put_in_place, replace_folder
from jdap.units import SAMPLE_RATE

#: Of the sound, bits a second: what AAC needs for speech of 16 kHz, with room.
AUDIO_BIT_RATE = 64_000
#: BT.601 (SMPTE 170M), studio range: how libswscale turns RGB into YUV, written down so that players turn it back so.
_BT601, _STUDIO_RANGE = 6, 1


class UnwritableVideo(ValueError):
    """A video that cannot be written; the message is one line and says what to do."""


class _Container:
    """A file of PyAV with one picture track, written beside its place; it gets its name when all is in it."""

    def __init__(self, path: Path, kind: str, codec: str, pixels: str, fps: Fraction | float, **options: str) -> None:
        self.path, self.part = path, path.with_name(f"{path.name}.part")
        self.fps = Fraction(fps).limit_denominator(1001)
        self.frames = 0
        self._encoder, self._pixels, self._options = require_encoder(codec), pixels, options
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.part.write_bytes(
                b""
            )  # PyAV opens it with the first packet only, which is late to learn that it cannot
            # The index in front, so that a browser can start before it has the whole file.
            front = {"movflags": "+faststart"} if kind == "mp4" else {}
            self._container = av.open(str(self.part), "w", format=kind, options=front)
        except (OSError, av.error.FFmpegError) as error:
            raise UnwritableVideo(f"{path}: cannot be written: {error.strerror}") from error
        self._stream: Any = None
        self._others: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the file in its place, or remove it when anything went wrong."""
        try:
            if kind is None:
                self._finish()
                self._container.close()
                put_in_place(self.part, self.path)
        except (OSError, av.error.FFmpegError) as failed:
            raise UnwritableVideo(f"{self.path}: cannot be written: {failed.strerror}") from failed
        finally:
            # What is not whole may fail to close; it goes away either way.
            with contextlib.suppress(OSError, av.error.FFmpegError):
                self._container.close()
            self.part.unlink(missing_ok=True)

    def _write(self, picture: np.ndarray, layout: str) -> None:
        height, width = picture.shape[:2]
        if self._stream is None:
            self._open(width, height)
        if (width, height) != (self._stream.width, self._stream.height):
            raise UnwritableVideo(
                f"{self.path}: frame {self.frames} is {width} x {height}, the first was "
                f"{self._stream.width} x {self._stream.height}"
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=layout)
        frame.pts, frame.time_base = self.frames, 1 / self.fps
        self._mux(self._stream.encode(frame))
        self.frames += 1

    def _open(self, width: int, height: int) -> None:
        stream: Any = self._container.add_stream(self._encoder, rate=self.fps)
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, self._pixels, self._options
        stream.codec_context.time_base = 1 / self.fps
        self._stream = stream

    def _mux(self, packets: Any) -> None:
        try:
            self._container.mux(packets)
        except (OSError, av.error.FFmpegError) as error:
            raise UnwritableVideo(f"{self.path}: cannot be written: {error.strerror}") from error

    def _finish(self) -> None:
        if self._stream is None:
            raise UnwritableVideo(f"{self.path}: a video without frames")
        self._mux(self._stream.encode(None))


class VideoWriter(_Container):
    """MP4 of H.264 (yuv420p) and, with ``sound``, AAC mono of 16 kHz, in sync from the first sample.

    The first sample sounds when the first frame shows. An AAC encoder puts a run-up of 1024 samples before the sound;
    FFmpeg dates it before zero and the file's edit list leaves it out. Frames of odd sizes get one more column or row,
    a copy of the last, as H.264's colours come in squares of two.

    Args:
        path: of the file; one that is there is replaced.
        fps: frames per second.
        sound: whether it has a sound track.
        crf: x264's quality, 0 (lossless but for the colours) … 51; 18 looks lossless.
    """

    def __init__(self, path: Path, fps: Fraction | float = 25, *, sound: bool = True, crf: int = CRF) -> None:
        if not 0 <= crf <= 51:
            raise UnwritableVideo(f"{path}: quality (crf) must be within 0 … 51, got {crf}")
        if sound:
            require_encoder("aac")
        super().__init__(path, "mp4", "libx264", "yuv420p", fps, crf=str(crf))
        self.samples = 0
        self._fifo = av.AudioFifo()
        self._sound: Any = None
        self._has_sound = sound

    def frame(self, picture: np.ndarray) -> None:
        """The next frame, (H, W, 3) uint8 sRGB."""
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise UnwritableVideo(f"{self.path}: frames are (H, W, 3) uint8, got {picture.shape} {picture.dtype}")
        height, width = picture.shape[:2]
        if height % 2 or width % 2:
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self._write(picture, "rgb24")

    def sound(self, audio_S: np.ndarray) -> None:
        """The next samples (S,) float32 in [-1, 1] at 16 kHz. Frames and sound should come about as fast."""
        if not self._has_sound:
            raise UnwritableVideo(f"{self.path}: it was opened without a sound track")
        if self._stream is None:
            raise UnwritableVideo(f"{self.path}: the first frame must come before the sound")
        if not len(audio_S):
            return
        frame = av.AudioFrame.from_ndarray(audio_S.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self.samples, Fraction(1, SAMPLE_RATE)
        self.samples += len(audio_S)
        self._fifo.write(frame)
        for whole in self._fifo.read_many(self._sound.codec_context.frame_size or 1024):
            self._mux(self._sound.encode(whole))

    def _open(self, width: int, height: int) -> None:
        super()._open(width, height)
        self._stream.codec_context.colorspace, self._stream.codec_context.color_range = _BT601, _STUDIO_RANGE
        if self._has_sound:
            self._sound = self._container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
            self._sound.bit_rate = AUDIO_BIT_RATE

    def _finish(self) -> None:
        super()._finish()
        if self._sound is not None:
            rest = self._fifo.read(0, partial=True)
            self._mux([*(self._sound.encode(rest) if rest else []), *self._sound.encode(None)])


class DepthVideoWriter(_Container):
    """Lossless depth video: FFV1 of 16-bit grey in Matroska (``.mkv``)."""

    def __init__(self, path: Path, fps: Fraction | float = 25) -> None:
        # In slices with a checksum each: a damaged file loses a part of a picture, and it is known which.
        super().__init__(path, "matroska", "ffv1", "gray16le", fps, level="3", slicecrc="1")

    def frame(self, picture: np.ndarray) -> None:
        """The next frame, (H, W) uint16."""
        self._write(_grey16(picture, self.path), "gray16le")


class DepthFolderWriter:
    """A folder of 16-bit grey PNGs ``000000.png`` …, written beside its place; one that is there is replaced whole."""

    def __init__(self, path: Path) -> None:
        self.path, self.part, self.frames = path, path.with_name(f"{path.name}.part"), 0
        shutil.rmtree(self.part, ignore_errors=True)
        self.part.mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the folder in its place, or remove it when anything went wrong."""
        try:
            if kind is None:
                replace_folder(self.part, self.path)
        finally:
            shutil.rmtree(self.part, ignore_errors=True)

    def frame(self, picture: np.ndarray) -> None:
        """The next frame, (H, W) uint16."""
        buffer = io.BytesIO()
        Image.fromarray(_grey16(picture, self.path)).save(buffer, format="PNG")
        (self.part / f"{self.frames:06d}.png").write_bytes(buffer.getvalue())
        self.frames += 1


def require_encoder(name: str) -> str:
    """``name``, if this PyAV can encode by it. Raises :class:`UnwritableVideo` with the remedy where it cannot."""
    try:
        av.Codec(name, "w")
    except (ValueError, av.error.FFmpegError) as error:
        raise UnwritableVideo(
            f"this PyAV ({av.__version__}) has no encoder {name}; its wheels have: pip install --force-reinstall av"
        ) from error
    return name


def _grey16(picture: np.ndarray, path: Path) -> np.ndarray:
    if picture.ndim != 2 or picture.dtype != np.uint16:
        raise UnwritableVideo(f"{path}: depth frames are (H, W) uint16, got {picture.shape} {picture.dtype}")
    return picture
