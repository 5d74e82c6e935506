"""The pipeline of one video: segments of :data:`SEGMENT_S` run through :data:`STAGES`, and rows come out.

Whatever goes wrong with a video is a row. Who does which videos where is told in :mod:`data_prep.prepare`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep import stages
from data_prep.clip import FAILED, KEPT, Clip
from data_prep.faces import FaceTracker
from data_prep.stages import Job, Tools
from data_prep.video import FPS, FrameReader, VideoError, open_video

#: Every stage takes a clip and yields clips; one that was turned down skips the rest. A new stage is one more line
#: here.
STAGES: tuple[tuple[str, Callable[[Clip, Job], Iterator[Clip]]], ...] = (
    ("faces", stages.find_faces),
    ("fit", stages.fit_head),
    ("crop", stages.crop_head),
    ("audio", stages.read_sound),
    ("quality", stages.judge),
    ("depth", stages.draw_depth),
)
#: Longer videos are worked through in even segments of at most this, each a clip of its own: memory stays bounded.
SEGMENT_S = 60.0


@dataclass(frozen=True)
class Task:
    """One video: where it is, what it is called, and where its results go."""

    path: Path
    name: str
    base_id: str
    scratch: Path
    sheets: Path


def prepare_video(task: Task, tools: Tools) -> list[dict[str, Any]]:
    """Run one video through the pipeline; returns its rows and never raises (an interrupt passes)."""
    rows: list[dict[str, Any]] = []
    try:
        video = open_video(task.path)
        task.sheets.mkdir(parents=True, exist_ok=True)
        with FaceTracker() as tracker:
            readers = FrameReader(video), FrameReader(video)
            job = Job(tools, task.name, video, tracker, *readers, task.scratch, task.sheets)
            for start, stop in stages.cut_evenly(video.frames, round(SEGMENT_S * FPS)):
                segment = Clip(str(task.path), task.base_id, video, start, stop - start)
                for clip in run_stages(segment, job):
                    rows.append(clip.row())  # one by one: clips before a failure stay
    except VideoError as error:
        rows.append(failed_row(task, str(error).removeprefix(f"{task.path}: ")))
    except Exception as error:  # a bug or a full disk must not cost the other videos their rows
        rows.append(failed_row(task, f"{type(error).__name__}: {error}", traceback.format_exc()))
    return rows


def run_stages(clip: Clip, job: Job) -> Iterator[Clip]:
    """Clips that come out of :data:`STAGES`, each timed; a clip goes through all stages before the next one starts."""

    def through(clip: Clip, index: int) -> Iterator[Clip]:
        if clip.status != KEPT or index == len(STAGES):
            yield clip
            return
        name, stage = STAGES[index]
        results, spent = stage(clip, job), dict(clip.seconds)
        while True:
            started = time.perf_counter()
            result = next(results, None)
            if result is None:
                return
            result.seconds = {**spent, **result.seconds, name: time.perf_counter() - started}
            yield from through(result, index + 1)

    return through(clip, 0)


def failed_row(task: Task, reason: str, details: str = "") -> dict[str, Any]:
    """The one row of a video of which nothing came: why, on one line."""
    row: dict[str, Any] = {"source": str(task.path), "clip_id": task.base_id, "status": FAILED}
    row |= {"reason": " ".join(reason.split()), "frames": 0, "scores": {}, "seconds": {}}
    return row | ({"details": details} if details else {})
