"""``python -m benchmarks preparation``: frames a second of data preparation, by step, and the memory that it takes.

Each of ``--workers`` processes, with one thread, runs all videos through the whole pipeline, as ``prepare`` does.
Frames a second are all frames of all processes over the wall time. Shares of steps are processor time, fair where
other programs run; threads of mediapipe and decoders are counted in it. Building the models is not.

``--minutes`` makes a long video of the first one: :data:`LOOP_S` seconds of it, ``--height`` pixels high, repeated.
The peak of resident memory is that of a process that prepares it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, report
from data_prep.clips.quality import KEPT
from data_prep.clips.steps import PrepareSettings, Tools
from data_prep.clips.steps.pipeline import Divided, Task, prepare_video
from data_prep.video.video import FrameReader, find_videos, open_video
from jdap.io.device import find_device
from jdap.io.progress import Telling
from jdap.io.threads import use_threads
from jdap.units import FPS

LOOP_S = 4.0


def measure(videos: list[Path], settings: PrepareSettings, folder: Path) -> dict[str, Any]:
    """Prepare videos in this process; seconds of wall and processor, frames, seconds by step, peak of memory."""
    use_threads(1)
    tools = Tools(settings, clock=time.process_time)
    steps, frames, kept = Counter[str](), 0, 0
    wall, processor = time.perf_counter(), time.process_time()
    for k, video in enumerate(videos):
        rows = prepare_video(Task(video, video.name, f"v{k}", folder / str(k), folder / "sheets"), tools)
        assert not isinstance(rows, Divided)  # it was not asked for
        for row in rows:
            if "details" in row:
                raise BenchmarkError(f"{video}: {row['reason']}")
            steps.update(row["seconds"])
            frames += row["frames"]
            kept += row["frames"] if row["status"] == KEPT else 0
    return {
        "frames": frames,
        "kept_frames": kept,
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
        "steps_s": dict(steps),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def loop_video(source: Path, target: Path, seconds: float, height: int) -> None:
    """``seconds`` of video, ``height`` pixels high: the first :data:`LOOP_S` of the source, coded once, repeated."""
    video = open_video(source)
    count = min(video.frames, round(LOOP_S * FPS))
    width = round(height * video.width / video.height / 2) * 2
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder) / "short.mp4"
        with av.open(str(short), "w") as container:
            stream = container.add_stream("libx264", rate=round(FPS), options={"preset": "ultrafast", "bf": "0"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for k, frame in enumerate(FrameReader(video).read(0, count)):
                picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
                coded = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
                coded.pts, coded.time_base = k, Fraction(1, round(FPS))
                container.mux(stream.encode(coded))
            container.mux(stream.encode())
        with av.open(str(target), "w") as outside:
            for turn in range(round(seconds * FPS / count)):
                with av.open(str(short)) as inside:
                    if not turn:
                        copy = outside.add_stream_from_template(inside.streams.video[0])
                    for packet in inside.demux(inside.streams.video[0]):
                        if packet.pts is None or packet.dts is None:
                            continue
                        shift = round(turn * count / FPS / packet.time_base)
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                        outside.mux(packet)


def summarise(found: list[dict[str, Any]], wall_s: float) -> dict[str, Any]:
    """Figures of all processes together."""
    frames = sum(f["frames"] for f in found)
    steps = Counter[str]()
    for one in found:
        steps.update(one["steps_s"])
    return {
        "frames": frames,
        "kept_frames": sum(f["kept_frames"] for f in found),
        "frames_per_s": frames / wall_s,
        "frames_per_processor_s": frames / sum(f["processor_s"] for f in found),
        "ms_a_frame": {name: 1000 * seconds / frames for name, seconds in steps.most_common()},
        "peak_mb": max(f["peak_bytes"] for f in found) / 1e6,
    }


def _tell(started: Sequence[Future[dict[str, Any]]], folder: Path, videos: int) -> None:
    """Say how many videos of all processes have begun, until all are done: each makes a folder of its own."""
    with Telling("video", videos, console=Console(stderr=True)) as telling:
        while wait(started, timeout=1.0).not_done:
            telling.tell(max(0, sum(1 for _ in folder.glob("worker*/*[0-9]")) - len(started)))


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = str(find_device(args.device))
    if args.workers < 1 or args.minutes < 0 or args.height < 16 or args.height % 2:
        raise BenchmarkError("--workers must be at least 1, --minutes not negative, --height even")
    settings, console = PrepareSettings(args.size, device), Console()
    videos = [path for path, _ in find_videos(args.videos)]
    with tempfile.TemporaryDirectory() as folder:
        if args.minutes:
            videos = [Path(folder) / "long.mp4"]
            loop_video(find_videos(args.videos)[0][0], videos[0], 60 * args.minutes, args.height)
        Console(stderr=True).print(f"{args.workers} processes prepare {len(videos)} videos", style="dim")
        with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
            started = [pool.submit(measure, videos, settings, Path(folder) / f"worker{k}") for k in range(args.workers)]
            _tell(started, Path(folder), args.workers * len(videos))
            found = [one.result() for one in started]
    figures = summarise(found, max(one["wall_s"] for one in found))
    table = Table("step", "processor ms a frame", "share", box=box.SIMPLE)
    total = sum(figures["ms_a_frame"].values())
    for name, spent in figures["ms_a_frame"].items():
        table.add_row(name, f"{spent:.1f}", f"{spent / total:.0%}")
    table.add_row("all", f"{1000 / figures['frames_per_processor_s']:.1f}", "")
    report.show(table, console)
    console.print(
        f"{figures['frames']} frames, {figures['kept_frames']} kept, at {args.size} pixels: "
        f"{figures['frames_per_s']:.1f} frames/s of {args.workers} processes, "
        f"{figures['frames_per_processor_s']:.1f} a processor second; peak {figures['peak_mb']:.0f} MB a process"
    )
    if args.json:
        report.write_json(args.json, {**figures, "stamp": report.software_stamp()})
    return 0
