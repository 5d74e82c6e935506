"""A video that is written as it is made: picture and sound, depth, and a preview.

Shapes: F frames of a window, H = W pixels of the model, S audio samples.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from jdap.choices import CRF, PNG, VIDEO
from jdap.depth import to_uint16
from jdap.media.video import DepthFolderWriter, DepthVideoWriter, VideoWriter
from jdap.pipelines.base import Callback
from jdap.pipelines.grid import depth_picture
from jdap.pipelines.pictures import Portrait
from jdap.pipelines.talking import TalkingPipeline
from jdap.units import SAMPLE_RATE

#: Blocks of sound → windows of frames; and what hears how many frames are written.
Talking = tuple[Callable[[Iterable[np.ndarray]], Iterator[Portrait]], Callable[[int], None]]
DEPTH_ENDS = {VIDEO: ".depth.mkv", PNG: ".depth"}


@dataclass(frozen=True)
class Outputs:
    """Where the files of one video go; ``depth`` and ``preview`` are None where they are not asked for."""

    video: Path
    depth: Path | None
    preview: Path | None
    metadata: Path

    @classmethod
    def of(cls, out: Path, depth_format: str, preview: bool, seed: int | None = None) -> Outputs:
        """Names beside ``out``, with the seed in them where one is given."""
        stem = out.stem if seed is None else f"{out.stem}-seed{seed}"
        return cls(
            out.with_name(f"{stem}{out.suffix}"),
            out.with_name(stem + DEPTH_ENDS[depth_format]) if depth_format in DEPTH_ENDS else None,
            out.with_name(f"{stem}.preview.mp4") if preview else None,
            out.with_name(f"{stem}.json"),
        )


def write_video(
    talk: Callable[[Iterable[np.ndarray]], Iterator[Portrait]],
    fps: float,
    blocks: Iterable[np.ndarray],
    outputs: Outputs,
    windows_done: Callable[[int], None] = lambda frames: None,
    *,
    crf: int = CRF,
) -> int:
    """Make a video and write it as it is made: memory does not depend on its length. Returns how many frames.

    ``talk(blocks)`` of sound (S,) at 16 kHz gives windows of frames at ``fps``, tensors
    (:meth:`TalkingPipeline.talk` with a reference); ``windows_done`` is called with the frames written so far.
    Everything of ``outputs`` but the metadata gets its name when all is made.
    """
    frames = 0
    said: deque[np.ndarray] = deque()
    with contextlib.ExitStack() as stack:
        video = stack.enter_context(VideoWriter(outputs.video, fps, crf=crf))
        films = [video]
        if outputs.preview is not None:
            films.append(stack.enter_context(VideoWriter(outputs.preview, fps, crf=crf)))
        depths: DepthVideoWriter | DepthFolderWriter | None = None
        if outputs.depth is not None:
            of_film = outputs.depth.name.endswith(DEPTH_ENDS[VIDEO])
            depths = DepthVideoWriter(outputs.depth, fps) if of_film else DepthFolderWriter(outputs.depth)
            stack.enter_context(depths)
        for made in talk(_kept(blocks, said)):
            rgb, colour = _pixels(made.rgb), _pixels(depth_picture(made.depth))
            encoded = to_uint16(made.depth[:, 0].float().cpu().numpy())
            for k in range(len(rgb)):
                for film, picture in zip(films, (rgb[k], np.concatenate([rgb[k], colour[k]], axis=1)), strict=False):
                    film.frame(picture)
                if depths is not None:
                    depths.frame(encoded[k])
            frames += len(rgb)
            # The pipeline reads ahead of its frames; the file wants both at about the same time.
            for samples in _taken(said, round(frames * SAMPLE_RATE / fps) - video.samples):
                for film in films:
                    film.sound(samples)
            windows_done(frames)
    return frames


def tellers(
    tell: Callable[[float], None], pipeline: TalkingPipeline, overlap: int | None = None
) -> tuple[Callable[[int], None], Callback]:
    """What :func:`write_video` is to call, as ``windows_done`` and on every step, so that ``tell`` hears of how many
    frames are made, with parts of those that are in work."""
    new = pipeline.shape.frames - pipeline.shape.overlap(overlap)
    written = 0

    def windows_done(frames: int) -> None:
        nonlocal written
        written = frames
        tell(frames)

    def on_step(pipeline: TalkingPipeline, step: int, timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        tell(written + new * (step + 1) / pipeline.num_timesteps)
        return {}

    return windows_done, on_step


def _kept(blocks: Iterable[np.ndarray], said: deque[np.ndarray]) -> Iterator[np.ndarray]:
    """The same blocks, also laid into ``said``."""
    for block in blocks:
        said.append(block)
        yield block


def _taken(said: deque[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """Up to so many samples from the front of ``said``, which they leave."""
    while said and samples > 0:
        block = said.popleft()
        if len(block) > samples:
            said.appendleft(block[samples:])
            block = block[:samples]
        samples -= len(block)
        yield block


def _pixels(rgb_F3HW: Tensor) -> np.ndarray:
    """[-1, 1] → (F, H, W, 3) uint8."""
    return ((rgb_F3HW.float().permute(0, 2, 3, 1) + 1) * 127.5).round().byte().cpu().numpy()
