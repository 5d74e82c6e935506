"""Videos drawn by the tests, and a short pipeline for them: real reading and real samples in milliseconds.

What a video's name says happens to it: ``slow-…`` takes half a second, ``crash-…`` kills its worker, ``flaky-N-…``
fails N times with an input error (counted in a file beside it), ``oom-N-…`` finds the GPU's memory full N times,
``hang-…`` enters an endless loop that never gives up the interpreter's lock, ``full-…`` finds the disk full,
``reject-…`` is turned down, ``long-N-…`` has N segments, each of half a second's work and with a face that goes on over
their seams; ``deadly-N-…`` too, but the last one kills its worker. A line of ``….done`` beside it tells of each.
"""

import dataclasses
import errno
import gc
import os
import signal
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import fakes
import numpy as np
import torch
from PIL import Image

from data_prep.clips.joining import join_segments
from data_prep.clips.steps.pipeline import Divided, Task, failed_row
from data_prep.video.video import FrameReader, UnreadableVideo, open_video
from jdap.shards.writer import ShardWriter
from jdap.units import FPS

FRAMES, SIZE = 3, 16


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of the short pipeline: side of the frames in pixels, and thresholds."""

    size: int = SIZE
    thresholds: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


def draw_video(path: Path, seed: int, frames: int = FRAMES) -> Path:
    """A few frames of random blocks, 32 x 32 pixels, coded without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "0", "preset": "ultrafast"})
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        for k in range(frames):
            blocks = np.kron(rng.integers(0, 255, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(blocks, format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def fork() -> int:
    """``os.fork()`` after the garbage is gone: a child that frees PyAV's scalers waits for their threads for ever, and
    only its parent has those."""
    gc.collect()
    return os.fork()


def forked(work: Callable[[], object]) -> int:
    """A process of its own that does this and ends, without waiting for imports → its number."""
    child = fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def draw_folder(folder: Path, *names: str, seed: int = 0) -> Path:
    """A folder of drawn videos of these names."""
    for k, name in enumerate(names):
        draw_video(folder / name, seed + k)
    return folder


def make(settings: Settings) -> Callable[[Task], list[dict] | Divided]:
    """The short pipeline, as ``data_prep.engines.prepare`` takes one: a clip of a video, its first frames on a drawn
    head."""

    def prepare(task: Task) -> list[dict] | Divided:
        behave(task)
        count = segments_of(task)
        if task.divide and task.segment is None and count > 1:
            return Divided(count)
        wanted = range(count) if task.segment is None else [task.segment]
        parts = [[_clip(task, settings, number, count)] for number in wanted]
        return join_segments(parts) if task.segment is None else parts[0]

    return prepare


def _clip(task: Task, settings: Settings, number: int, count: int) -> dict:
    started = time.perf_counter()
    if count > 1:
        time.sleep(0.5)
        with task.path.with_suffix(".done").open("a") as file:
            file.write(f"{number}\n")
    if task.path.name.startswith("deadly") and number == count - 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    try:
        video = open_video(task.path)
        frames = list(FrameReader(video).read(0, FRAMES))
    except UnreadableVideo as error:
        return failed_row(task, str(error).removeprefix(f"{task.path}: "))
    rgb = np.stack([np.asarray(Image.fromarray(frame).resize((settings.size,) * 2)) for frame in frames])
    drawn = fakes.sample(int(rgb.sum()) + number, 0, FRAMES, settings.size, FPS)
    clip_id = f"{task.base_id}_{number * FRAMES:06d}"
    row = {
        "source": str(task.path),
        "clip_id": clip_id,
        "frames": FRAMES,
        "scores": {"brightness": float(rgb.mean()) / 255},
    }
    row |= {"status": "kept", "reason": "", "seconds": {"render": time.perf_counter() - started}}
    if count > 1:
        here = [100.0, 100.0, 50.0]
        row |= {"person_id": clip_id, "seams": [here if number else None, here if number < count - 1 else None]}
    if task.path.name.startswith("reject"):
        return row | {"status": "rejected", "reason": "brightness 0.1 is under 0.2"}
    record = dataclasses.replace(drawn.record, clip_id=clip_id, person_id=clip_id, source=task.name)
    with ShardWriter(task.scratch / clip_id, "clip") as writer:
        writer.write(dataclasses.replace(drawn, record=record, rgb_FHW3=rgb))
    task.sheets.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb[0]).save(task.sheets / f"{clip_id}.jpg")
    return row


def segments_of(task: Task) -> int:
    """How many segments a video of this name has."""
    kind, _, rest = Path(task.name).name.partition("-")
    return int(rest.partition("-")[0]) if kind in ("long", "deadly") else 1


def behave(task: Task) -> None:
    """Do what the video's name says."""
    kind, _, rest = task.path.name.partition("-")
    if kind == "slow":
        time.sleep(0.5)
    elif kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(task.scratch))
    elif kind == "hang":
        sum(iter(int, 1))
    elif kind in ("flaky", "oom"):
        tries = task.path.with_suffix(".tries")
        count = len(tries.read_text()) if tries.exists() else 0
        tries.write_text("x" * (count + 1))
        if count < int(rest.partition("-")[0]):
            if kind == "oom":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(task.path))
